"""The network's training forward through torch.compile.

Where there is no compiler, the network runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from edgeyolo.training.loop.technique import Maps, Trainable

Forward = Callable[[Tensor], Maps]


class CompiledForward:
    """Calls a network through torch.compile, which shares its weights.

    The first call of each input shape compiles, for minutes on a CPU. That does not pay there: oneDNN's convolutions
    are nearly all of a step, and compiled steps took as long (benchmarks/results/step-variants.md). Where nothing can
    be compiled (no C++ compiler on a CPU, no Triton on a GPU), the network runs as it is, and `tell` hears why once.
    """

    def __init__(self, network: Trainable, tell: Callable[[str], None]) -> None:
        self._network, self._tell = network, tell
        self._run: Any = torch.compile(network, dynamic=False)

    def __call__(self, images: Tensor) -> Maps:
        """Raw maps of images (N, 3, H, W) in 0..1, as of the network."""
        from torch._dynamo.exc import TorchDynamoException

        try:
            return cast(Maps, self._run(images))
        except TorchDynamoException as error:
            self._tell(f"nothing can be compiled here, so the network runs as it is: {_reason(error)}")
            self._run = self._network
            return cast(Maps, self._run(images))


def _reason(error: BaseException) -> str:
    """The first lines of a compiler's error.

    The others say what to do about its own defects.
    """
    return " ".join(str(error).split("\n\n", maxsplit=1)[0].split())[:200]
