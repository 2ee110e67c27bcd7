"""Gain of the boxes in integer maps: measured, put into the weights, and what it is good for."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgeyolo.artifact.contracts import RawMaps
from edgeyolo.artifact.target import Target
from edgeyolo.backend.profile import MAP_REACH
from edgeyolo.export.source import NetworkSource

pytest.importorskip("litert_torch", reason="needs the tflite extra")

from edgeyolo_tflite import EdgeTpuBackend, flatbuffer, gain
from edgeyolo_tflite.quantize import quantize

EDGE_TPU = Target("edgetpu", "tflite", "int8")


@pytest.fixture
def output(convert: ModuleType, source: NetworkSource) -> RawMaps:
    found: RawMaps = convert.contracts(source)[1]
    return found


def maps_of(model: bytes, batch: np.ndarray, output: RawMaps) -> np.ndarray:
    """All cells (n, 5 + classes) of one batch, in real values."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    given = batch if entry["dtype"] == np.float32 else (np.rint(batch * 255) - 128).astype(np.int8)
    interpreter.set_tensor(entry["index"], given)
    interpreter.invoke()
    found = []
    for item in interpreter.get_output_details():
        values = interpreter.get_tensor(item["index"]).astype(np.float64)
        scale, zero = item["quantization"]
        found.append(((values - zero) * scale if scale else values).reshape(-1, 5 + output.classes))
    return np.concatenate(found)


def test_boxes_are_multiplied_and_scores_are_not(
    float_model: bytes, calibration: list[np.ndarray], output: RawMaps
) -> None:
    before = maps_of(float_model, calibration[0], output)
    model = gain.with_box_gain(float_model, output, 2.5)
    after = maps_of(model, calibration[0], output)
    np.testing.assert_allclose(after[:, :4], 2.5 * before[:, :4], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(after[:, 4:], before[:, 4:])
    tree = flatbuffer.read(model)
    (item,) = (each for each in tree.metadata if flatbuffer.text(each.name) == "edgeyolo")
    assert json.loads(bytes(tree.buffers[item.buffer].data))["box_gain"] == 2.5


def test_boxes_of_objects_fill_the_reach(
    float_model: bytes, calibration: list[np.ndarray], output: RawMaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = np.concatenate([maps_of(float_model, each, output) for each in calibration])
    least = float(np.quantile(cells[:, 4], 0.9))
    monkeypatch.setattr(gain, "OBJECT", least)
    boxes = np.abs(cells[cells[:, 4] > least, :4])
    monkeypatch.setattr(gain, "MOST", 1e3)
    found = gain.box_gain(float_model, calibration, output)
    assert found == pytest.approx(MAP_REACH / np.quantile(boxes, gain.COVERED), abs=0.006)
    monkeypatch.setattr(gain, "MOST", 1.5)
    assert gain.box_gain(float_model, calibration, output) == 1.5
    monkeypatch.setattr(gain, "OBJECT", np.inf)
    assert gain.box_gain(float_model, calibration, output) == 1.0


def test_integers_of_boxes_are_finer(
    float_model: bytes, calibration: list[np.ndarray], output: RawMaps
) -> None:
    wanted = maps_of(float_model, calibration[0], output)[:, :4]
    plain = maps_of(quantize(float_model, calibration), calibration[0], output)[:, :4]
    model = gain.with_box_gain(float_model, output, 4.0)
    finer = maps_of(quantize(model, calibration), calibration[0], output)[:, :4] / 4
    assert np.abs(finer - wanted).mean() < 0.8 * np.abs(plain - wanted).mean()


def test_the_artifact_states_its_gain(
    convert: ModuleType,
    float_model: bytes,
    source: NetworkSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(convert, "to_flatbuffer", lambda source: float_model)
    monkeypatch.setattr(gain, "OBJECT", -np.inf)
    compiled = EdgeTpuBackend().compile(source, EDGE_TPU, tmp_path)
    assert isinstance(compiled.output, RawMaps)
    assert 1 < compiled.output.box_gain <= gain.MOST
