"""The network in training as a `Session`.

It is so validated by the code that validates everything else.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.runtime.pipeline import Pipeline
from edgeyolo.training.loop.technique import Trainable

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """The context of a forward pass in "fp32", "bf16" or "fp16"."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, _DTYPES[precision])


class NetworkSession:
    """Runs a network where and how it is trained; its auxiliary maps are left out."""

    def __init__(self, network: Trainable, device: str, precision: str) -> None:
        self.network, self.device, self.precision = network, device, precision

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """float32 (n, 3, height, width) to the lead maps by name."""
        images = torch.from_numpy(batch).to(self.device)
        with torch.inference_mode(), autocast(self.device, self.precision):
            maps = self.network(images)[: self.network.levels]
        return {f"p{i}": head.float().cpu().numpy() for i, head in enumerate(maps)}

    def close(self) -> None:
        """Nothing to release: the network belongs to the run."""


def make_pipeline(
    network: Trainable, class_names: tuple[str, ...], size: int, device: str, precision: str
) -> Pipeline:
    """Pipeline of a network for `evaluation.validate`.

    It is for square images of `size` or any other.
    """
    output = RawMaps(
        tuple(f"p{i}" for i in range(network.levels)), network.strides, network.anchors, network.classes
    )
    contract = InputContract(size, size, dynamic_batch=True, dynamic_size=True)
    return Pipeline(NetworkSession(network, device, precision), contract, output, class_names)
