"""The package with boxes for output: decoding as the host does it, and a suppression model that Core ML accepts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import GraphDetections, RawMaps
from edgeyolo.export.source import NetworkSource
from edgeyolo.runtime.nms import nms
from edgeyolo.runtime.postprocess import PostprocessConfig, decode, postprocess
from edgeyolo.runtime.postprocess_config import settle
from edgeyolo.runtime.preprocess import Letterbox
from edgeyolo_coreml import CoremlBackend
from edgeyolo_coreml.detector import Decode, write_detector
from edgeyolo_coreml.interpreter import Interpreter
from edgeyolo_coreml.package import read

ALL = PostprocessConfig(conf=0.0, iou=1.0)


@pytest.fixture(scope="module")
def package(small_source: NetworkSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "detector.mlpackage"
    write_detector(small_source, GraphDetections(3, conf=0.2, iou=0.5, max_det=50), "fp16", path)
    return path


def corners(coordinates: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Centre, width, height in 0..1 -> corners in pixels of the input."""
    scaled = coordinates * np.float32([size[1], size[0]] * 2)
    return np.concatenate([scaled[:, :2] - scaled[:, 2:] / 2, scaled[:, :2] + scaled[:, 2:] / 2], axis=1)


def maps_of(contract: RawMaps, size: tuple[int, int], seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = contract.shapes(1, size)
    return {n: rng.normal(size=s).astype(np.float32) for n, s in zip(contract.names, shapes, strict=True)}


@pytest.mark.parametrize("classes", [1, 3])
def test_decoding_is_the_hosts(small_source: NetworkSource, classes: int) -> None:
    output, size = replace(small_source.output, classes=classes), (64, 96)
    maps = maps_of(output, size)
    confidence, coordinates = Decode(output, size)(tuple(map(torch.from_numpy, maps.values())))
    expected = decode(maps, output, ALL)
    assert confidence.shape == (len(expected), classes)
    np.testing.assert_allclose(corners(coordinates.numpy(), size), expected.xyxy, atol=1e-3)
    np.testing.assert_allclose(confidence.amax(1), expected.confidence, atol=1e-6)
    np.testing.assert_array_equal(confidence.argmax(1), expected.class_id)
    assert ((confidence > 0).sum(1) == 1).all(), "one class a box"


def test_the_program_decodes_in_float32_behind_a_float16_network(
    package: Path, artifacts: dict[str, Artifact], pictures: np.ndarray
) -> None:
    _, program = read(package)
    kinds = {(op.op_type, op.outputs[0].dtype.__name__) for op in program.functions["main"].operations}
    assert ("conv", "fp16") in kinds
    assert ("conv", "fp32") not in kinds
    assert ("sigmoid", "fp32") in kinds
    assert ("sigmoid", "fp16") not in kinds
    found = Interpreter(program).run({"images": pictures[:1].transpose(0, 3, 1, 2)})
    artifact = artifacts["fp16"]
    maps = CoremlBackend().open_for_parity(artifact).run(pictures[:1])
    expected = decode(maps, artifact.manifest.output, ALL)
    np.testing.assert_allclose(corners(found["decoded_coordinates"], (64, 96)), expected.xyxy, atol=1e-3)
    np.testing.assert_allclose(found["decoded_confidence"].max(axis=1), expected.confidence, atol=1e-5)


def test_suppression_as_its_specification_has_it_gives_the_hosts_boxes(
    package: Path, artifacts: dict[str, Artifact], pictures: np.ndarray
) -> None:
    """NonMaximumSuppression.proto: boxes below the threshold go, then the best of each label suppresses."""
    spec, program = read(package)
    rule = spec.pipeline.models[1].nonMaximumSuppression
    assert rule.pickTop.perClass
    found = Interpreter(program).run({"images": pictures[:1].transpose(0, 3, 1, 2)})
    confidence = found[rule.confidenceInputFeatureName]
    boxes = corners(found[rule.coordinatesInputFeatureName], (64, 96))
    likely = confidence.max(axis=1) > rule.confidenceThreshold
    best, label = confidence[likely].max(axis=1), confidence[likely].argmax(axis=1)
    kept = nms(boxes[likely], best, label, rule.iouThreshold, 50)
    artifact = artifacts["fp16"]
    maps = CoremlBackend().open_for_parity(artifact).run(pictures[:1])
    config = PostprocessConfig(conf=0.2, iou=0.5, max_det=50)
    whole = Letterbox.fit((64, 96), (64, 96))
    (expected,) = postprocess(maps, artifact.manifest.output, [whole], config)
    assert len(expected) > 5
    clipped = np.clip(boxes[likely][kept], 0, [96, 64, 96, 64])
    solid = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    np.testing.assert_allclose(clipped[solid], expected.xyxy, atol=1e-3)
    np.testing.assert_allclose(best[kept][solid], expected.confidence, atol=1e-5)
    np.testing.assert_array_equal(label[kept][solid], expected.class_id)


def test_the_pipeline_is_wired(package: Path) -> None:
    spec, _ = read(package)
    network, suppression = spec.pipeline.models
    assert list(spec.pipeline.names) == ["network", "suppression"]
    inputs = {item.name: item for item in spec.description.input}
    assert set(inputs) == {"images", "iouThreshold", "confidenceThreshold"}
    for name in ("iouThreshold", "confidenceThreshold"):
        assert inputs[name].type.isOptional
        assert inputs[name].type.WhichOneof("Type") == "doubleType"
    assert [item.name for item in spec.description.output] == ["confidence", "coordinates"]
    produced = {item.name: item.type for item in network.description.output}
    for item in suppression.description.input[:2]:
        assert produced[item.name] == item.type, "what one gives is what the other takes"
    assert spec.specificationVersion >= max(each.specificationVersion for each in (network, suppression))


def test_the_suppression_model_keeps_the_frameworks_rules(package: Path, small_source: NetworkSource) -> None:
    """The rules of coremltools' NonMaximumSuppressionValidator.cpp."""
    model = read(package)[0].pipeline.models[1]
    rule, description = model.nonMaximumSuppression, model.description
    named = {
        rule.confidenceInputFeatureName,
        rule.coordinatesInputFeatureName,
        rule.iouThresholdInputFeatureName,
        rule.confidenceThresholdInputFeatureName,
    }
    assert {item.name for item in description.input} == named
    assert {item.name for item in description.output} == {
        rule.confidenceOutputFeatureName,
        rule.coordinatesOutputFeatureName,
    }
    arrays = [item.type.multiArrayType for item in [*description.input[:2], *description.output]]
    assert {array.dataType for array in arrays} == {arrays[0].FLOAT32}
    assert model.specificationVersion >= 5, "float32 from iOS 14 on"
    assert (rule.confidenceThreshold, rule.iouThreshold) == (0.2, 0.5)
    cells = 3 * (8 * 12 + 4 * 6 + 2 * 3)
    assert [list(array.shape) for array in arrays[:2]] == [[cells, 3], [cells, 4]]
    for array, width in zip(arrays[2:], (3, 4), strict=True):
        assert not array.shape, "either a shape or a range"
        ranges = [(side.lowerBound, side.upperBound) for side in array.shapeRange.sizeRanges]
        assert ranges == [(0, 50), (width, width)]
    assert list(rule.stringClassLabels.vector) == list(small_source.class_names)


def test_coremltools_reads_it_and_it_explains_itself(package: Path) -> None:
    import coremltools as ct

    model = ct.models.MLModel(str(package), skip_model_load=True)
    told: Any = model.user_defined_metadata
    assert json.loads(told["class_names"]) == ["cat", "dog", "bird"]
    assert "boxes after suppression" in told["output"]
    assert not [key for key in told if "date" in key]


@pytest.mark.slow
def test_compressed_detectors_and_equal_bytes(small_source: NetworkSource, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_detector(small_source, GraphDetections(3), "w6", tmp_path / folder / "detector.mlpackage")
    files = [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) == 3
    for path in files:
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
    _, program = read(tmp_path / "one/detector.mlpackage")
    assert any(op.op_type == "constexpr_lut_to_dense" for op in program.functions["main"].operations)


def test_an_artifact_with_suppression_gives_what_the_host_finds(
    *,
    small_source: NetworkSource,
    artifacts: dict[str, Artifact],
    make_artifact: Callable[[NetworkSource, str, Path], Artifact],
    pictures: np.ndarray,
    tmp_path: Path,
    fake_framework: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the interpreter, and by the session that talks to the framework; several images, each by itself."""
    graph = GraphDetections(3, conf=0.2, iou=0.5, max_det=20)
    free = replace(small_source.input, dynamic_batch=True)
    artifact = make_artifact(replace(small_source, detections=graph, input=free), "fp16", tmp_path / "graph")
    assert artifact.manifest.output == graph
    backend, whole = CoremlBackend(), [Letterbox.fit((64, 96), (64, 96))] * len(pictures)
    raw = backend.open_for_parity(artifacts["fp16"])
    alone = [raw.run(pictures[i : i + 1]) for i in range(len(pictures))]
    maps = {name: np.concatenate([each[name] for each in alone]) for name in alone[0]}
    expected = postprocess(maps, artifacts["fp16"].manifest.output, whole, settle(graph))
    interpreted = backend.open_for_parity(artifact).run(pictures)
    fake_framework.install(monkeypatch)
    for found in (interpreted, backend.open(artifact).run(pictures)):
        assert [found[name].shape for name in graph.names] == list(graph.shapes(len(pictures), (64, 96)))
        for host, ours in zip(expected, postprocess(found, graph, whole, settle(graph)), strict=True):
            assert len(host) > 5
            np.testing.assert_array_equal(ours.class_id, host.class_id)
            np.testing.assert_allclose(ours.confidence, host.confidence, atol=1e-5)
            np.testing.assert_allclose(ours.xyxy, host.xyxy, atol=1e-3)
