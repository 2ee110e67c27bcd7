"""The parity gate compares an artifact in its own layout with torch in torch's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from edgeyolo.artifact.contracts import GraphDetections, InputContract, RawMaps
from edgeyolo.artifact.manifest import Manifest, Parity
from edgeyolo.artifact.target import Target
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import GateError
from edgeyolo.export.parity_gate import (
    as_network_input,
    batches,
    deviations,
    measure_parity,
    raw_maps,
    reference_maps,
    require_parity,
)
from edgeyolo.runtime.agreement import rounding
from edgeyolo.runtime.preprocess import preprocess

torch = pytest.importorskip("torch", reason="needs the export extra")

PLAIN = InputContract(32, 64)
OUTPUT = RawMaps(("p3", "p4"), (8, 16), (((8.0, 8.0),), ((16.0, 16.0),)), classes=2)


class Pooled(torch.nn.Module):
    """Two maps in which every channel is of another colour, so that any mix-up shows."""

    def forward(self, images):
        red, green, blue = images.split(1, 1)
        mixed = torch.cat((red, green, blue, red - green, green * blue, red + 2 * blue, -green), 1)
        return tuple(torch.nn.functional.avg_pool2d(mixed, stride) for stride in OUTPUT.strides)


def pictures() -> list[np.ndarray]:
    return [make_scene(seed, (40, 50)).image for seed in (0, 1)]


@pytest.mark.parametrize(
    "contract",
    [
        replace(PLAIN, layout="NHWC"),
        replace(PLAIN, layout="NHWC", dtype="uint8"),
        replace(PLAIN, dtype="uint8", color_order="BGR"),
        replace(PLAIN, layout="NHWC", color_order="BGR"),
    ],
)
def test_every_contract_gives_the_same_maps(contract: InputContract) -> None:
    expected = reference_maps(Pooled(), preprocess(pictures(), PLAIN)[0], PLAIN, OUTPUT)
    found = reference_maps(Pooled(), preprocess(pictures(), contract)[0], contract, OUTPUT)
    assert max(deviations(expected, found).values()) < 1e-6


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_network_gets_red_first(order: str, layout: str) -> None:
    contract = replace(PLAIN, layout=layout, color_order=order, dtype="uint8")
    orange = np.full((32, 64, 3), (0, 51, 255), np.uint8)  # blue, green, red
    given = as_network_input(preprocess([orange], contract)[0], contract)
    assert given.shape == (1, 3, 32, 64)
    assert given.flags.c_contiguous
    assert given[0, :, 5, 7].tolist() == pytest.approx([1, 0.2, 0])


def test_maps_come_in_the_artifacts_layout() -> None:
    batch = preprocess(pictures(), PLAIN)[0]
    expected = reference_maps(Pooled(), batch, PLAIN, OUTPUT)
    last = replace(OUTPUT, layout="NHWC")
    found = reference_maps(Pooled(), batch, PLAIN, last)
    assert tuple(each.shape for each in found.values()) == last.shapes(2, PLAIN.size)
    for name, each in expected.items():
        assert np.array_equal(found[name], each.transpose(0, 2, 3, 1))
        assert found[name].flags.c_contiguous  # golden vectors index it flat


def test_a_map_of_another_layout_is_named() -> None:
    batch = preprocess(pictures(), PLAIN)[0]
    first = reference_maps(Pooled(), batch, PLAIN, OUTPUT)
    last = reference_maps(Pooled(), batch, PLAIN, replace(OUTPUT, layout="NHWC"))
    with pytest.raises(GateError, match=r"p3: the artifact gives shape \(2, 4, 8, 7\), torch \(2, 7, 4, 8\)"):
        deviations(first, last)


def test_a_map_that_is_not_finite_is_outside() -> None:
    want = {"p3": np.ones((1, 7, 4, 8), np.float32)}
    have = {"p3": want["p3"] * np.float32("nan")}
    found = deviations(want, have)
    assert found == {"p3": float("inf")}
    with pytest.raises(GateError, match="inf away from torch"):
        require_parity(Parity(1e-4, found, "one picture"), "cpu-onnx-fp32")


def test_the_worst_value_decides_not_the_mean() -> None:
    want = {"p3": np.full((1, 7, 4, 8), 2, np.float32)}
    have = {"p3": want["p3"].copy()}
    have["p3"][0, 3, 2, 1] += 0.5
    assert deviations(want, have) == {"p3": 0.25}


def test_the_budgets_hold_on_both_sides() -> None:
    """At the budget is inside, the next float beyond it is outside: for the deviation and for the agreement."""
    parity = Parity(1e-4, {"p3": 1e-4, "p4": 0.0}, "one picture", 0.99, 0.99, 100)
    require_parity(parity, "cpu-onnx-fp32")
    further = replace(parity, deviation={"p3": 0.0, "p4": float(np.nextafter(1e-4, 1))})
    fewer = replace(parity, agreement=float(np.nextafter(0.99, 0)))
    for outside in (further, fewer):
        with pytest.raises(GateError):
            require_parity(outside, "cpu-onnx-fp32")


def test_deviation_is_relative_to_the_largest_value_of_either_sign() -> None:
    want = {"p3": np.float32([0.5, -2, 1, 0]), "p4": np.float32([4, 1])}
    have = {"p3": np.float32([0.5, -2, 1, 0.5]), "p4": np.float32([4, 0])}
    assert deviations(want, have) == {"p3": 0.25, "p4": 0.25}


def test_differences_beyond_the_reach_are_none() -> None:
    want, have = {"p3": np.float32([-40, -3, 8])}, {"p3": np.float32([-6, -3, 6])}
    assert deviations(want, have)["p3"] == pytest.approx(0.85)
    assert deviations(want, have, 6.0) == {"p3": 0.0}
    assert deviations(want, {"p3": np.float32([-np.inf, -3, 6])}, 6.0) == {"p3": np.inf}
    near = {"p3": np.float32([-5, -3, 6])}
    assert deviations(want, near, 6.0)["p3"] == pytest.approx(1 / 40)
    assert deviations({"p3": np.float32([-2, 1])}, {"p3": np.float32([-2, 2])}, 6.0) == {"p3": 0.5}


def test_a_map_of_zeros_deviates_by_nothing_or_by_much() -> None:
    zeros = {"p3": np.zeros(4, np.float32)}
    assert deviations(zeros, zeros) == {"p3": 0.0}
    off = deviations(zeros, {"p3": np.float32([0, 1e-6, 0, 0])})["p3"]
    assert 1e4 < off < float("inf")


@pytest.mark.parametrize(
    ("batch", "groups"), [(1, ["0", "1", "2"]), (2, ["01", "22"]), (3, ["012"]), (5, ["01222"])]
)
def test_batches_are_filled_with_the_last_picture(batch: int, groups: list[str]) -> None:
    shades = [np.full((32, 64, 3), shade, np.uint8) for shade in range(3)]
    found = list(batches(iter(shades), replace(PLAIN, batch=batch, dtype="uint8")))
    assert ["".join(str(row.max()) for row in each) for each, _ in found] == groups
    assert all(len(boxes) == batch for _, boxes in found)
    assert list(batches([], PLAIN)) == []


# --- whole comparisons ---

PROFILE = TargetProfile(Target.parse("cpu-onnx-fp32"), "", parity=0.25, agreement=0.9)


def manifest(output: RawMaps | GraphDetections = OUTPUT) -> Manifest:
    return Manifest(PROFILE.target, "onnxruntime", "small", {}, ("cat", "dog"), PLAIN, output, {})


def sure(images: object) -> tuple[object, ...]:
    """A network that is sure of one object in every picture, of 8 x 8 pixels around (12, 12)."""
    maps = [np.full((1, 7, 4, 8), -4, np.float32), np.full((1, 7, 2, 4), -8, np.float32)]
    maps[0][0, :, 1, 1] = (0, 0, 0, 0, 2, 4, -4)
    return tuple(torch.from_numpy(each) for each in maps)


@dataclass
class Off:
    """A session that gives what `sure` gives, changed by the next of `changes` for each picture."""

    changes: list[Callable[[dict[str, np.ndarray]], object]]

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        maps = {name: each.numpy().copy() for name, each in zip(OUTPUT.names, sure(batch), strict=True)}
        self.changes.pop(0)(maps)
        return maps

    def close(self) -> None:
        pass


def by(name: str, amount: float) -> Callable[[dict[str, np.ndarray]], object]:
    """A change of one value of a map."""

    def change(maps: dict[str, np.ndarray]) -> None:
        maps[name][0, 6, 0, 0] += amount

    return change


def lost(maps: dict[str, np.ndarray]) -> None:
    maps["p3"][0, 4, 1, 1] -= 4


def measured(*changes: Callable[[dict[str, np.ndarray]], object]) -> Parity:
    return measure_parity(
        sure, OUTPUT, Off(list(changes)), manifest(), pictures(), profile=PROFILE, described="two pictures"
    )


@pytest.mark.parametrize("changes", [(by("p3", 1), by("p3", 0.5)), (by("p3", 0.5), by("p3", 1))])
def test_the_worst_picture_counts_for_each_map_and_all_detections_do(changes: tuple) -> None:
    assert measured(*changes) == Parity(0.25, {"p3": 0.25, "p4": 0.0}, "two pictures", 1.0, 0.9, 4)


def test_a_lost_detection_lowers_the_agreement() -> None:
    found = measured(by("p4", 0.8), lost)
    assert found.deviation == {"p3": 1.0, "p4": pytest.approx(0.1)}
    assert (found.agreement, found.detections) == (pytest.approx(2 / 3), 3)


def test_detections_of_maps_that_are_not_finite_are_not_asked_for() -> None:
    found = measured(by("p4", float("nan")), by("p4", 0))
    assert found.deviation == {"p3": 0.0, "p4": float("inf")}
    assert (found.agreement, found.detections) == (1.0, 2), "those of the other picture"
    assert measured(by("p4", float("inf")), by("p3", float("inf"))).agreement is None


# Values that float16 is rounded by, in the maps of `sure` and `ranked`: both have a root mean square of about 4.
ROUNDED = rounding("fp16") * 4


def ranked(images: object) -> tuple[object, ...]:
    """Two boxes that score alike and of which one suppresses the other, and one of either of two classes.

    The two have an IoU of 0.47: enough to suppress, too little for a counterpart.
    """
    maps = [each.numpy().copy() for each in sure(images)]
    maps[0][0, :, 1, 1] = -4
    maps[0][0, :, 1, 2] = (0, 0, 0, 0, 2.001, 4, -4)
    maps[0][0, :, 1, 3] = (-1.515, 0, 0, 0, 2, 4, -4)
    maps[0][0, :, 2, 5] = (0, 0, 0, 0, 4, 3, 2.999)
    return tuple(torch.from_numpy(each) for each in maps)


def swapped(amount: float) -> Callable[[dict[str, np.ndarray]], object]:
    """A change that lets the second box score more than the first, and the other class than the one."""

    def change(maps: dict[str, np.ndarray]) -> None:
        for new, old in zip(maps.values(), ranked(None), strict=True):
            new[:] = old.numpy()
        maps["p3"][0, 4, 1, 3] += amount
        maps["p3"][0, 6, 2, 5] += amount

    return change


def agreed_on(amount: float, target: str) -> Parity:
    profile = replace(PROFILE, target=Target.parse(target))
    return measure_parity(
        ranked, OUTPUT, Off([swapped(amount)]), manifest(), pictures()[:1], profile=profile, described="one"
    )


def test_near_scores_rank_as_torch_has_them_up_to_the_rounding_of_the_target() -> None:
    """An order by less than rounding says nothing; what is further off counts."""
    within = agreed_on(0.9 * ROUNDED, "jetson-trt-fp16")
    assert (within.agreement, within.detections) == (1.0, 4)
    beyond = agreed_on(1.1 * ROUNDED, "jetson-trt-fp16")
    assert (beyond.agreement, beyond.detections) == (0.0, 4)


@pytest.mark.parametrize("target", ["jetson-trt-fp32", "jetson-trt-int8"])
def test_ranks_of_other_precisions_are_held_to_their_own_rounding(target: str) -> None:
    assert agreed_on(0.9 * ROUNDED, target).agreement == 0.0


def test_deviations_are_not_forgiven_by_rounding() -> None:
    found = agreed_on(0.9 * ROUNDED, "jetson-trt-fp16")
    assert found.deviation["p3"] == pytest.approx(0.9 * ROUNDED / 4, rel=0.01)


def test_detections_of_a_graph_are_compared_with_those_of_the_maps() -> None:
    output = GraphDetections(2, max_det=3)
    assert raw_maps(manifest(output), OUTPUT) is OUTPUT
    other = replace(OUTPUT, layout="NHWC")
    assert raw_maps(manifest(other), OUTPUT) == other

    class Nothing:
        def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
            return {
                name: np.zeros(shape, np.float32)
                for name, shape in zip(output.names, output.shapes(1, PLAIN.size), strict=True)
            }

        def close(self) -> None:
            pass

    found = measure_parity(
        sure, OUTPUT, Nothing(), manifest(output), pictures(), profile=PROFILE, described="two pictures"
    )
    assert found == Parity(0.25, {"scores": 0.0, "boxes": 0.0}, "two pictures", 0.0, 0.9, 2)


def test_a_miss_is_told_with_the_worst_map_first() -> None:
    parity = Parity(0.25, {"p3": 0.1, "p4": 0.5, "p5": 0.25}, "two pictures", 0.75, 0.9, 8)
    with pytest.raises(GateError) as told:
        require_parity(parity, "cpu-onnx-fp32", lambda: "conv3 parts first")
    assert told.value.message.splitlines()[1:] == [
        "  p4         0.5  outside",
        "  p5         0.25  ok",
        "  p3         0.1  ok",
        "detections that agree: 75.0% of 8; 90.0% are demanded",
        "conv3 parts first",
    ]
    with pytest.raises(GateError, match="detections that agree: none to compare"):
        require_parity(replace(parity, agreement=None), "cpu-onnx-fp32")
