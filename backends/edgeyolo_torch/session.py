"""A network held by torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo.errors import EdgeYoloError


class TorchSession:
    """Runs raw head maps eagerly, in float32 on the CPU.

    torch's thread count belongs to the process: `threads` sets it for everything else in the process too.
    """

    def __init__(self, path: Path, input: InputContract, output: OutputContract, threads: int | None) -> None:
        import torch

        from edgeyolo.models.weights import load

        if threads is not None:
            torch.set_num_threads(threads)
        self._path, self._input, self._output = path, input, output
        self._network: torch.nn.Module | None = load(path).network.eval()

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Map (n, 3, height, width) float32 to the raw maps by name."""
        import torch

        network = self._network
        if network is None:
            raise EdgeYoloError(f"{self._path}: the session is closed")
        self._input.check(batch)
        with torch.inference_mode():
            maps = network(torch.from_numpy(np.ascontiguousarray(batch)))
        return {name: each.numpy() for name, each in zip(self._output.names, maps, strict=True)}

    def close(self) -> None:
        """Release the weights."""
        self._network = None
