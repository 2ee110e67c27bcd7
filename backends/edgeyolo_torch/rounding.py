"""float16 on a CPU.

It is what a GPU that accumulates in float32 stores after every operator, rounded the same way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, float16, float32, inference_mode, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo_torch.session import TorchSession


def rounded(value: Tensor) -> Tensor:
    """The nearest float16 values, infinite where they overflow, as float32."""
    return value.to(float16).to(float32) if value.dtype == float32 else value


class RoundsToHalf(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Round every operator's float32 result to the nearest float16.

    Moving values does not change them again.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._schema.is_mutable:  # an activation in place
            if isinstance(result, Tensor):
                result.copy_(rounded(result))
            return result
        return tree_map_only(Tensor, rounded, result)


def round_weights(network: nn.Module) -> nn.Module:
    """The network with its weights rounded to float16, in place."""
    with inference_mode():
        for value in (*network.parameters(), *network.buffers()):
            value.copy_(rounded(value))
    return network


class Rounded(nn.Module):
    """A network rounded to float16.

    Its weights, its input and the output of every operator are rounded.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = round_weights(network)

    def forward(self, images: Tensor) -> Any:
        """Run the network on (n, 3, height, width) float32."""
        with RoundsToHalf():  # type: ignore[no-untyped-call]
            return self.network(rounded(images))


class RoundedSession(TorchSession):
    """The parity stand-in of `cuda-torch-fp16` on machines without CUDA."""

    def __init__(self, path: Path, input: InputContract, output: OutputContract) -> None:
        super().__init__(path, input, output, threads=None)
        assert self._network is not None  # open until it is closed
        self._network = Rounded(self._network)
