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
