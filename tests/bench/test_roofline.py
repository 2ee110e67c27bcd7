"""Placement under a machine's limits: by hand on round numbers, and the check that finds impossible results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.artifact.target import Target
from edgeyolo_bench.limits.gemm import Peak
from edgeyolo_bench.limits.peaks import Peaks
from edgeyolo_bench.limits.roofline import Limits, arithmetic_of, bugs, layers_of, place

PEAKS = Peaks(
    2, {"fp32": (Peak(100.0, "numpy"),), "int8": (Peak(400.0, "openvino"),)}, {"read": 10.0}, 1, None
)


@pytest.fixture
def manifest(small_artifact: Path) -> Manifest:
    return Artifact.open(small_artifact).manifest


def placed(manifest: Manifest, milliseconds: float, batch: int = 1, peaks: Peaks = PEAKS):  # type: ignore[no-untyped-def]
    found = place(manifest, peaks, device="here", label="small", latency_ms=milliseconds, batch=batch)
    assert found is not None
    return found


def test_operations_and_bytes_of_a_placement(manifest: Manifest) -> None:
    layers = layers_of(manifest)
    found = placed(manifest, 2.0)
    flops = sum(layer.flops for layer in layers)
    moved = 4 * sum(layer.weights + layer.values_in + layer.values_out for layer in layers)
    assert found.gflops == pytest.approx(flops / 1e9)
    assert found.bytes == pytest.approx(moved)
    assert found.intensity == pytest.approx(flops / moved)
    assert found.reached == pytest.approx(flops / 1e9 / 0.002)
    assert found.attainable == pytest.approx(min(100, found.intensity * 10))
    each = [
        max(layer.flops / 1e8, 4 * (layer.weights + layer.values_in + layer.values_out) / 1e7)
        for layer in layers
    ]
    assert found.limit_ms == pytest.approx(sum(each))
    assert found.share == pytest.approx(sum(each) / 2)
    assert {work.bound for work in found.layers} <= {"compute", "memory"}


def test_weights_are_read_once_for_a_batch(manifest: Manifest) -> None:
    one, eight = placed(manifest, 2.0), placed(manifest, 16.0, batch=8)
    weights = 4 * sum(layer.weights for layer in layers_of(manifest))
    assert one.bytes - eight.bytes == pytest.approx(weights * 7 / 8)
    assert eight.latency_ms == one.latency_ms == 2.0
    assert eight.reached == pytest.approx(one.reached)


def test_integers_are_a_quarter_of_the_bytes(manifest: Manifest) -> None:
    integer = replace(manifest, target=Target.parse("cpu-onnx-int8"))
    assert placed(manifest, 2.0).bytes == pytest.approx(4 * placed(integer, 2.0).bytes)


def test_arithmetic_of_targets() -> None:
    assert arithmetic_of(Target.parse("cpu-openvino-fp16")) == "fp32"
    assert arithmetic_of(Target.parse("jetson-trt-fp16")) == "fp16"
    assert arithmetic_of(Target.parse("cpu-onnx-int8")) == "int8"


def test_a_limit_that_was_not_measured_gives_no_placement(manifest: Manifest) -> None:
    half = replace(manifest, target=Target.parse("jetson-trt-fp16"))
    assert place(half, PEAKS, device="here", label="small", latency_ms=1.0) is None


def test_faster_than_possible_is_called_a_bug(manifest: Manifest) -> None:
    layers = layers_of(manifest)
    direct = sum(layer.flops for layer in layers) / 1e9 / 100 * 1e3
    least = sum(layer.least_flops for layer in layers) / 1e9 / 100 * 1e3
    assert least < direct
    slow, fast, wrong = (placed(manifest, ms) for ms in (direct * 1.01, (direct + least) / 2, least * 0.99))
    assert [item.verdict for item in (slow, fast, wrong)] == ["possible", "above-peak", "impossible"]
    sentences = bugs([Limits("here", PEAKS, (slow, fast, wrong))])
    assert len(sentences) == 2
    assert "Winograd" in sentences[0]
    assert "impossible" in sentences[1] and "bug" in sentences[1]
