"""Range of the activations beside float16's.

A stand-in may compute in float32 what the device computes in float16.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.errors import GateError
from edgeyolo.export.check import limits_of
from edgeyolo.export.parity_gate import batches
from edgeyolo.export.trace import module_names

if TYPE_CHECKING:
    from edgeyolo.export.source import NetworkSource


@dataclass(frozen=True)
class Reach:
    """Largest absolute value of a tensor in the network, and its maker."""

    value: float = 0.0
    module: str = ""
    operator: str = ""


def reach(network: torch.nn.Module, images: Iterable[NDArray[np.uint8]], contract: InputContract) -> Reach:
    """Run the network in float32 on images and look at every tensor.

    Images are BGR.
    """
    watcher = _Watcher(contract.name)
    with torch.inference_mode(), module_names(network, watcher.modules):
        for batch, _ in batches(images, contract):
            given = torch.from_numpy(contract.real_values(batch))
            with watcher:
                network(given)
    return watcher.found


def require_range(
    source: NetworkSource, profile: TargetProfile, images: list[NDArray[np.uint8]], described: str
) -> None:
    """Raise GateError where a tensor exceeds the target's largest number."""
    largest = limits_of(profile).largest_activation
    if largest is None:
        return
    found = reach(source.network, images, source.input)
    if not found.value <= largest:
        raise GateError(
            f"{profile.target} computes in float16, which ends at {largest:g}; {found.module} ({found.operator}) gives "
            f"{found.value:.3g} on {described}",
            hint="Nothing was written. Export for a target of float32 or bfloat16, or train with weight decay.",
        )


class _Watcher(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes where the largest value is made."""

    def __init__(self, given: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.modules: list[str] = [given]
        self.found = Reach()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        output = result[0] if isinstance(result, tuple) else result
        if isinstance(output, Tensor) and output.is_floating_point() and output.numel():
            low, high = torch.aminmax(output)
            value = max(-float(low), float(high))
            if not value <= self.found.value:  # NaN too
                self.found = Reach(value, self.modules[-1], func.overloadpacket.__name__)
        return result
