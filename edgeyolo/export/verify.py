"""The parity gate: an artifact must give what torch gives, or it is not written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.contracts import InputContract
from edgeyolo.errors import GateError
from edgeyolo.manifest import Manifest, Parity
from edgeyolo.preprocess import preprocess
from edgeyolo.protocols import Session

Maps = dict[str, NDArray[np.float32]]


def reference_maps(network: Any, names: tuple[str, ...], batch: NDArray[np.float32]) -> Maps:
    """torch's raw maps for an NCHW float32 batch."""
    import torch

    with torch.inference_mode():
        maps = network(torch.from_numpy(batch))
    return {name: each.numpy() for name, each in zip(names, maps, strict=True)}


def batches(images: Iterable[NDArray[np.uint8]], contract: InputContract) -> Iterator[NDArray[Any]]:
    """Images (BGR uint8) as input arrays of the contract's own batch size, the last one repeated to fill up."""
    pictures = list(images)
    for start in range(0, len(pictures), contract.batch):
        group = pictures[start : start + contract.batch]
        group += group[-1:] * (contract.batch - len(group))
        yield preprocess(group, contract)[0]


def deviations(expected: Maps, actual: Maps) -> dict[str, float]:
    """By map, the largest absolute difference divided by the largest absolute expected value."""
    found = {}
    for name, want in expected.items():
        have = actual[name]
        if have.shape != want.shape:
            raise GateError(f"output {name}: the artifact gives shape {have.shape}, torch {want.shape}")
        difference = np.abs(have - want).max() / max(float(np.abs(want).max()), 1e-12)
        found[name] = float(difference) if np.isfinite(difference) else float("inf")
    return found


def measure_parity(
    network: Any,
    session: Session,
    manifest: Manifest,
    images: Iterable[NDArray[np.uint8]],
    *,
    tolerance: float,
    described: str,
) -> Parity:
    """Compare the artifact with torch on every image and keep the worst deviation of each map."""
    names = manifest.output.names
    worst = dict.fromkeys(names, 0.0)
    for batch in batches(images, manifest.input):
        found = deviations(reference_maps(network, names, batch), session.run(batch))
        worst = {name: max(worst[name], found[name]) for name in names}
    return Parity(tolerance, worst, described)


def require_parity(parity: Parity, target: str) -> None:
    """Raise GateError with a table of the maps unless every one is within the tolerance."""
    if parity.worst <= parity.tolerance:
        return
    rows = [
        f"  {name:<10} {value:.3g}  {'ok' if value <= parity.tolerance else 'outside'}"
        for name, value in sorted(parity.deviation.items(), key=lambda item: -item[1])
    ]
    raise GateError(
        f"{target} is {parity.worst:.3g} away from torch (relative, on {parity.images}); "
        f"{parity.tolerance:g} is allowed:\n" + "\n".join(rows),
        hint="Nothing was written. The runtime computes something else; `edgeyolo doctor` shows the versions in use.",
    )
