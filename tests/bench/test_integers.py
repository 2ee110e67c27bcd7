"""The table of integers: splits judged together, samples for emulators, and a page of what is there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeyolo.datasets import load_dataset
from edgeyolo.datasets.scenes import write_dataset
from edgeyolo.evaluation.predictions import Predictions

pytest.importorskip("onnx")  # what it compares with

import integers
import integers_onnx
import integers_table
import result_files


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("scenes"), range(6), (96, 96))


def test_splits_are_one_data_set_with_images_numbered_anew(
    scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = load_dataset(scenes)
    parts = {"val": replace(one, name="cells-val"), "test": replace(one, name="cells-test")}
    monkeypatch.setattr(integers, "load_dataset", lambda data, split: parts[split])
    both = integers.read_splits("cells", "val,test")
    assert both.name == "cells-val+test"
    assert [sample.image_id for sample in both.images] == list(range(1, 13))
    assert [sample.path for sample in both.images] == 2 * [sample.path for sample in one.images]


def test_a_sample_is_judged_beside_the_same_images_in_float(scenes: Path) -> None:
    whole = load_dataset(scenes)
    few = integers.sample_of(whole, 2)
    assert len(few) == 2 and integers.sample_of(whole, 6) is whole
    ids = np.array([sample.image_id for sample in whole.images])
    found = Predictions(ids, np.zeros(6, np.int64), np.ones((6, 4)), np.linspace(0.1, 0.6, 6))
    kept = integers.of_images(found, few)
    assert kept.image_id.tolist() == [sample.image_id for sample in few.images]
    assert kept.score.tolist() == [found.score[ids.tolist().index(number)] for number in kept.image_id]


def test_the_page_says_what_was_measured_refused_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_files, "RESULTS", tmp_path)
    measured = {
        "how": "calibrated", "target": "cpu-onnx-int8", "images": 159, "AP": 0.58, "AP50": 0.9, "lost": 0.2,
        "interval": [-0.1, 0.4], "run_by": "onnxruntime",
    }  # fmt: skip
    rows = [
        {**measured, "how": "float", "target": "cpu-onnx-fp32", "lost": 0.0, "interval": [0.0, 0.0]},
        measured,
        {**measured, "target": "hexagon-qnn-int8", "images": 16},
        {"how": "calibrated", "target": "edgetpu-tflite-int8", "refused": "no LeakyReLU"},
    ]
    about = {"images": 159, "data": "bccd-val+test", "calibration": "205 images", "rows": rows}
    (tmp_path / "integers-bccd.json").write_text(json.dumps(about))
    integers_table.page()
    text = (tmp_path / "integers.md").read_text()
    assert (
        "| calibrated | cpu-onnx-int8 | +0.20 (-0.10 to +0.40) | not measured | not measured | onnxruntime |"
        in text
    )
    assert "+0.20 (-0.10 to +0.40, 16 images)" in text
    assert "| calibrated | edgetpu-tflite-int8 | refused |" in text
    assert "159 images of bccd-val+test, float AP 0.5800" in text
    assert text.index("cpu-onnx-int8") < text.index("edgetpu-tflite-int8") < text.index("hexagon-qnn-int8")
    assert json.loads((tmp_path / "integers.json").read_text())["sets"].keys() == {
        "integers-bccd", "integers-voc", "integers-scenes",
    }  # fmt: skip


def test_rows_of_an_older_training_keep_what_they_were_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_files, "RESULTS", tmp_path)
    kept = {(integers.TRAINED, "cpu-onnx-int8"): {}}
    (tmp_path / "cells.json").write_text(json.dumps({"qat_epochs": 4}), encoding="utf-8")
    assert integers.training_before("cells", kept) == {"qat_epochs": 4, "qat_distill": 20.0}
    (tmp_path / "cells.json").write_text(json.dumps({"qat_epochs": 6, "qat_distill": 3.0}), encoding="utf-8")
    assert integers.training_before("cells", kept) == {"qat_epochs": 6, "qat_distill": 3.0}
    assert integers.training_before("cells", {}) == {"qat_epochs": None, "qat_distill": None}


def test_a_library_whose_code_is_not_known_is_not_changed(tmp_path: Path) -> None:
    from edgeyolo.errors import RuntimeMissingError

    with pytest.raises(RuntimeMissingError, match="expected once, and got 0"):
        integers_onnx.masked((b"no such code in any library", b""), tmp_path)


def test_weights_in_seven_bits_compute_nearly_the_same() -> None:
    """Weights, their scales and the biases that go with them change together."""
    from onnx import TensorProto, helper, numpy_helper

    from edgeyolo_calib.onnx_graph import Graph

    weight = np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype(np.float32)
    scale = np.abs(weight).max((1, 2, 3)) / np.float32(127)
    bias = np.array([1000, -2000, 3000, 501], np.int32)
    constants = {
        "w": np.rint(weight / scale[:, None, None, None]).astype(np.int8), "ws": scale, "wz": np.zeros(4, np.int8),
        "b": bias, "bs": scale / 255, "bz": np.zeros(4, np.int32),
    }  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], axis=0),
            helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bf"], axis=0),
            helper.make_node("Conv", ["x", "wf", "bf"], ["y"], "conv"),
        ],
        "q", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 2, 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    exact = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv")], "f", list(graph.input), list(graph.output),
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias * scale / 255, "b")],
    )  # fmt: skip
    changed = integers_onnx.fewer_bits(helper.make_model(graph), Graph(helper.make_model(exact)))
    found = {item.name: numpy_helper.to_array(item) for item in changed.graph.initializer}
    assert np.abs(found["w"]).max() <= 63
    back = found["w"] * found["ws"][:, None, None, None]
    np.testing.assert_allclose(back, weight, atol=float(1.01 * found["ws"].max()))
    np.testing.assert_allclose(found["b"] * found["bs"], bias * scale / 255, rtol=2e-3)
