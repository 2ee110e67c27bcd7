"""Budgets of every target refuse what is computed wrongly, however wide they are.

Integers move a raw map by up to half of its largest value where rounding is all that happens; the detections, the
worst cell and the order of colours still have to tell a mistake from that. Exports have made each of them somewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.backend import registry
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import GateError
from edgeyolo.export.parity_gate import ColorOrder, Maps, deviations, measure_parity
from edgeyolo.runtime.agreement import WEAK, Agreement, agreement, rounding, up_to_rounding
from edgeyolo.runtime.postprocess import postprocess
from edgeyolo.runtime.preprocess import preprocess

WEIGHTS = Path(__file__).parents[2] / "benchmarks/weights/scenes.safetensors"
SIDE, PICTURES = 320, 4  # as many as an export looks at
PROFILES = {str(profile.target): profile for profile, _ in registry.profiles()}


class Trained:
    """A trained network, its maps of some pictures, and what else there is to be got wrong."""

    def __init__(self) -> None:
        from edgeyolo.models.reparameterize import reparameterize
        from edgeyolo.models.weights import load

        found = load(WEIGHTS)
        self.network = reparameterize(found.network).network.eval()
        spec = self.network.spec
        self.output = RawMaps(("p3", "p4", "p5"), spec.strides, spec.anchors, self.network.classes)
        images = [make_scene(3_000_000 + seed, (SIDE, SIDE)).image for seed in range(PICTURES)]
        self.batch, self.boxes = preprocess(images, InputContract(SIDE, SIDE, batch=PICTURES))
        self.batch = self.batch.copy()
        self.right, self.swapped = self.run(self.batch), self.run(self.batch[:, ::-1])

    def run(self, batch: NDArray[Any]) -> Maps:
        with torch.inference_mode():
            maps = self.network(torch.from_numpy(np.ascontiguousarray(batch, np.float32)))
        return dict(zip(self.output.names, (each.numpy() for each in maps), strict=True))

    def channels(self, order: list[int]) -> Maps:
        """The maps with the rows of every anchor in another order."""
        each = 5 + self.output.classes
        whole = [anchor * each + row for anchor in range(3) for row in [*order, *range(len(order), each)]]
        return {name: values[:, whole] for name, values in self.right.items()}


def _coarse(values: NDArray[np.float32]) -> NDArray[np.float32]:
    step = (values.max() - values.min()) / 255
    coarse: NDArray[np.float32] = np.rint(values / step) * step
    return coarse


@pytest.fixture(scope="module")
def trained() -> Trained:
    return Trained()


MISTAKES: dict[str, Callable[[Trained], Maps]] = {
    "blue for red": lambda it: it.swapped,
    "blue for red, in integers": lambda it: {name: _coarse(each) for name, each in it.swapped.items()},
    "pixels scaled twice": lambda it: it.run(it.batch / 255),
    "pixels not scaled": lambda it: it.run(it.batch * 255),
    "pixels scaled to -1..1": lambda it: it.run(it.batch * 2 - 1),
    "rows for columns": lambda it: {name: values.transpose(0, 1, 3, 2) for name, values in it.right.items()},
    "y for x": lambda it: it.channels([1, 0, 2, 3]),
    "height for width": lambda it: it.channels([0, 1, 3, 2]),
    "one class for another": lambda it: it.channels([0, 1, 2, 3, 4, 6, 5]),
    "a cell to the right": lambda it: {name: np.roll(values, 1, 3) for name, values in it.right.items()},
    "a level of zeros": lambda it: it.right | {"p4": np.zeros_like(it.right["p4"])},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_outside_the_budget_of_every_target(trained: Trained, mistake: str) -> None:
    wrong = {name: np.ascontiguousarray(values) for name, values in MISTAKES[mistake](trained).items()}
    passed = [target for target, profile in PROFILES.items() if holds(trained, wrong, profile)]
    assert not passed


def test_what_is_right_is_within_each(trained: Trained) -> None:
    assert all(holds(trained, trained.right, profile) for profile in PROFILES.values())


def holds(trained: Trained, maps: Maps, profile: TargetProfile) -> bool:
    """The gate's judgement of maps, without an artifact around them."""
    worst = max(deviations(trained.right, maps, profile.reach).values())
    settled = up_to_rounding(trained.right, maps, rounding(profile.target.precision))
    sides = [postprocess(each, trained.output, trained.boxes, WEAK) for each in (trained.right, settled)]
    agreed = sum((agreement(*pair) for pair in zip(*sides, strict=True)), Agreement())
    assert agreed.detections
    colors = ColorOrder()
    colors.add(trained.right, trained.swapped, maps)
    try:
        colors.require_red_first("a target")
    except GateError:
        return False
    return worst <= profile.parity and (agreed.share or 0) >= profile.agreement


class Session:
    """A runtime that computes what torch does, for blue in place of red where `swaps`."""

    def __init__(self, trained: Trained, *, swaps: bool) -> None:
        self.trained, self.swaps = trained, swaps

    def run(self, batch: NDArray[Any]) -> Maps:
        return self.trained.run(batch[:, ::-1] if self.swaps else batch)

    def close(self) -> None: ...


@pytest.mark.parametrize("swaps", [False, True])
def test_integers_of_the_wrong_colours_are_refused(trained: Trained, swaps: bool) -> None:
    profile = PROFILES["cpu-openvino-int8"]
    names = tuple(map(str, range(trained.output.classes)))
    manifest = Manifest(
        target=profile.target, backend="openvino", model="m", spec={}, class_names=names,
        input=InputContract(SIDE, SIDE), output=trained.output, files={},
    )  # fmt: skip
    images = [make_scene(3_000_000, (SIDE, SIDE)).image]

    def gate() -> bool:
        session = Session(trained, swaps=swaps)
        return measure_parity(
            trained.network, trained.output, session, manifest, images, profile=profile, described="a scene"
        ).holds

    if not swaps:
        assert gate()
        return
    with pytest.raises(GateError, match="cpu-openvino-int8 gives what torch gives for blue in place of red"):
        gate()
