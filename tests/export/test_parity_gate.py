"""The parity gate compares an artifact in its own layout with torch in torch's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.artifact.manifest import Parity
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import GateError
from edgeyolo.export.parity_gate import deviations, reference_maps, require_parity
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
