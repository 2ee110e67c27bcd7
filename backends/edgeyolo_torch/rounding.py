"""float16 on a CPU: what a GPU that accumulates in float32 stores after every operator, rounded the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, float16, float32, from_numpy, inference_mode, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from edgeyolo.contracts import InputContract, OutputContract
from edgeyolo.errors import EdgeYoloError
from edgeyolo.models.weights import load


def rounded(value: Tensor) -> Tensor:
    """The nearest float16 values, infinite where they overflow, as float32."""
    return value.to(float16).to(float32) if value.dtype == float32 else value


class RoundsToHalf(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every operator's float32 result becomes the nearest float16 one. Moving values does not change them again."""

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


class RoundedSession:
    """The parity stand-in of `cuda-torch-fp16` on machines without CUDA."""

    def __init__(self, path: Path, input: InputContract, output: OutputContract) -> None:
        self._path, self._input, self._output = path, input, output
        self._network: nn.Module | None = round_weights(load(path).network.eval())

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Map (n, 3, height, width) float32 to the raw maps by name."""
        network = self._network
        if network is None:
            raise EdgeYoloError(f"{self._path}: the session is closed")
        self._input.check(batch)
        with inference_mode(), RoundsToHalf():  # type: ignore[no-untyped-call]
            maps = network(rounded(from_numpy(np.ascontiguousarray(batch))))
        return {name: each.numpy() for name, each in zip(self._output.names, maps, strict=True)}

    def close(self) -> None:
        """Release the weights."""
        self._network = None
