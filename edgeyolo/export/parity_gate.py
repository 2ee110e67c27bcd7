"""The parity gate: an artifact must give what torch gives, or it is not written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import GraphDetections, InputContract, RawMaps
from edgeyolo.artifact.manifest import Manifest, Parity
from edgeyolo.backend.interface import Session
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.errors import GateError
from edgeyolo.runtime.agreement import (
    WEAK,
    Agreement,
    agreement,
    compare_detections,
    rounding,
    up_to_rounding,
)
from edgeyolo.runtime.postprocess import postprocess
from edgeyolo.runtime.preprocess import Letterbox, preprocess
from edgeyolo.support.memory import release_memory

Maps = dict[str, NDArray[np.float32]]


def reference_maps(network: Any, batch: NDArray[Any], contract: InputContract, output: RawMaps) -> Maps:
    """torch's raw maps for an artifact's own input array.

    They are in the layout of the artifact's maps.

    `network` takes NCHW float32 RGB in 0..1 and gives NCHW maps; the contracts say how the artifact differs, in its
    `box_gain` too.
    """
    import torch

    with torch.inference_mode():
        maps = network(torch.from_numpy(as_network_input(batch, contract)))
    last = output.layout == "NHWC"
    given = {name: _with_gain(each.numpy(), output) for name, each in zip(output.names, maps, strict=True)}
    return {
        name: np.ascontiguousarray(each.transpose(0, 2, 3, 1)) if last else each
        for name, each in given.items()
    }


def _with_gain(planes: NDArray[np.float32], output: RawMaps) -> NDArray[np.float32]:
    """A raw map (n, channels, h, w) with its boxes times the contract's gain."""
    if output.box_gain == 1:
        return planes
    gain = np.where(np.arange(5 + output.classes) < 4, output.box_gain, 1).astype(np.float32)
    scaled: NDArray[np.float32] = planes * np.tile(gain, len(output.anchors[0]))[:, None, None]
    return scaled


def as_network_input(batch: NDArray[Any], contract: InputContract) -> NDArray[np.float32]:
    """The array that the contract describes as what the network itself takes."""
    planes = batch if contract.layout == "NCHW" else batch.transpose(0, 3, 1, 2)
    if contract.color_order == "BGR":
        planes = planes[:, ::-1]
    return np.ascontiguousarray(contract.real_values(planes))


def batches(
    images: Iterable[NDArray[np.uint8]], contract: InputContract
) -> Iterator[tuple[NDArray[Any], list[Letterbox]]]:
    """Images (BGR uint8) as input arrays of the contract's batch size.

    The last image is repeated to fill up.
    """
    pictures = list(images)
    for start in range(0, len(pictures), contract.batch):
        group = pictures[start : start + contract.batch]
        group += group[-1:] * (contract.batch - len(group))
        yield preprocess(group, contract)


def deviations(expected: Maps, actual: Maps, reach: float = math.inf) -> dict[str, float]:
    """Largest relative deviation of each map.

    It is the largest absolute difference divided by the largest absolute expected value. Differences beyond +-`reach`
    are none.
    """
    found = {}
    for name, want in expected.items():
        have = actual[name]
        if have.shape != want.shape:
            raise GateError(f"output {name}: the artifact gives shape {have.shape}, torch {want.shape}")
        apart = np.abs(np.clip(have, -reach, reach) - np.clip(want, -reach, reach)).max()
        difference = apart / max(float(np.abs(want).max()), 1e-12)
        whole = np.isfinite(difference) and np.isfinite(have).all()  # the reach would hide what is infinite
        found[name] = float(difference) if whole else float("inf")
    return found


def measure_parity(
    network: Any,
    raw: RawMaps,
    session: Session,
    manifest: Manifest,
    images: Iterable[NDArray[np.uint8]],
    *,
    profile: TargetProfile,
    described: str,
    begin: Callable[[int], None] | None = None,
) -> Parity:
    """Compare the artifact with torch on every image.

    The worst deviation of each output, and the detections.

    `begin` is called with the number of each picture that comes next.
    `raw` is what torch's maps are (`raw_maps`). Deviations are of all of the difference; detections are compared up
    to the target's rounding (`up_to_rounding`), those of a graph with those that the host finds in torch's maps by the
    same thresholds.
    """
    output = manifest.output
    worst: dict[str, float] = {}
    agreed = Agreement()
    colors = ColorOrder()
    for done, (batch, boxes) in enumerate(batches(images, manifest.input)):
        if begin:
            begin(done * manifest.input.batch + 1)
        expected = reference_maps(network, batch, manifest.input, raw)
        release_memory()  # the activations of torch, before those of the runtime
        actual = session.run(batch)
        if isinstance(output, GraphDetections):
            found, agree = compare_detections(expected, raw, actual, output, boxes)
        else:
            found = deviations(expected, actual, profile.reach)
            if profile.calibrated:
                swapped = batch[:, ::-1] if manifest.input.layout == "NCHW" else batch[..., ::-1]
                colors.add(expected, reference_maps(network, swapped, manifest.input, raw), actual)
            agree = Agreement()
            if np.isfinite(max(found.values())):
                settled = up_to_rounding(expected, actual, rounding(profile.target.precision))
                agree = _agreement(expected, settled, raw, boxes)
        worst = {name: max(worst.get(name, 0.0), value) for name, value in found.items()}
        agreed += agree
    colors.require_red_first(str(profile.target))
    return Parity(profile.parity, worst, described, agreed.share, profile.agreement, agreed.detections)


class ColorOrder:
    """Judge of the order of colours, for budgets that are too wide to tell.

    Integers move maps as far as blue in place of red does, where colours say little, and nearly the same objects are
    found. But then the maps lie near those of torch for the swapped picture.
    """

    def __init__(self) -> None:
        self.right = self.swapped = 0.0

    def add(self, expected: Maps, swapped: Maps, actual: Maps) -> None:
        """Note how far an artifact's maps are from torch's.

        `swapped` are torch's for blue in place of red.
        """
        self.right += _squares(expected, actual)
        self.swapped += _squares(swapped, actual)

    def require_red_first(self, target: str) -> None:
        """Raise GateError where they are half as far from the latter."""
        if self.swapped < self.right / 4:
            raise GateError(
                f"{target} gives what torch gives for blue in place of red",
                hint="Nothing was written. The backend and its contract differ in the order of colours.",
            )


def _squares(one: Maps, other: Maps) -> float:
    return sum(float(np.square(one[name] - other[name], dtype=np.float64).sum()) for name in one)


def raw_maps(manifest: Manifest, network: RawMaps) -> RawMaps:
    """Raw maps that an artifact is compared by.

    They are its own, or the network's where it gives detections.
    """
    return manifest.output if isinstance(manifest.output, RawMaps) else network


def _agreement(expected: Maps, actual: Maps, output: RawMaps, boxes: list[Letterbox]) -> Agreement:
    sides = (postprocess(maps, output, boxes, WEAK) for maps in (expected, actual))
    return sum((agreement(*pair) for pair in zip(*sides, strict=True)), Agreement())


def require_parity(parity: Parity, target: str, layers: Callable[[], str] = str) -> None:
    """Raise GateError unless deviation and agreement are within the budget.

    The error has a table of the maps, and of the worst layers where they can be known. `layers` makes the
    latter, "" where the runtime shows none.
    """
    if parity.holds:
        return
    rows = [
        f"  {name:<10} {value:.3g}  {'ok' if value <= parity.tolerance else 'outside'}"
        for name, value in sorted(parity.deviation.items(), key=lambda item: -item[1])
    ]
    share = (
        "none to compare" if parity.agreement is None else f"{parity.agreement:.1%} of {parity.detections}"
    )
    raise GateError(
        f"{target} is {parity.worst:.3g} away from torch (relative, on {parity.images}); "
        f"{parity.tolerance:g} is allowed:\n" + "\n".join(rows) + f"\ndetections that agree: {share}; "
        f"{parity.least_agreement:.1%} are demanded" + (f"\n{told}" if (told := layers()) else ""),
        hint="Nothing was written. The runtime computes something else; `edgeyolo doctor` shows the versions in use.",
    )
