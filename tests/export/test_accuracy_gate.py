"""The accuracy gate: AP before and after, in the manifest or against the export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the export extra")
pytest.importorskip("faster_coco_eval", reason="needs the eval extra")

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import GraphDetections, InputContract, RawMaps
from edgeyolo.artifact.manifest import Accuracy, Manifest
from edgeyolo.datasets import Dataset, load_dataset
from edgeyolo.datasets.scenes import write_dataset
from edgeyolo.errors import DamagedFileError, GateError
from edgeyolo.evaluation.bootstrap import ap_difference
from edgeyolo.evaluation.validate import validate
from edgeyolo.export import ExportOptions, export
from edgeyolo.export.accuracy_gate import measure_accuracy, require_accuracy
from edgeyolo.runtime.pipeline import Pipeline

LOST = Accuracy("cells", 72, 0.5418, 0.5318, 1.0, (0.4, 1.6), 0.95, allowed=1.0)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Scenes whose objects bear the names of the small network's classes."""
    path = write_dataset(tmp_path_factory.mktemp("data"), range(4), (96, 96))
    described = json.loads(path.read_text())
    described["categories"] = [{"id": n, "name": name} for n, name in enumerate(("cat", "dog", "bird"), 1)]
    for each in described["annotations"]:
        each["category_id"] = each["category_id"] % 3 + 1
    path.write_text(json.dumps(described))
    return load_dataset(path)


def test_as_much_as_allowed_may_be_lost_and_no_more() -> None:
    require_accuracy(LOST, "cpu-onnx-int8")
    with pytest.raises(GateError, match=r"loses 1.01 AP points on 72 images") as told:
        require_accuracy(replace(LOST, lost=1.01), "cpu-onnx-int8")
    assert "--max-ap-drop" in told.value.hint


class Finder:
    """A network that finds the object of every picture: surely in bright ones, with `dark` as logit in dark ones."""

    def __init__(self, dark: float, *, in_graph: bool = False) -> None:
        self.dark, self.in_graph = dark, in_graph

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        logit = 8.0 if batch.mean() > 0.5 else self.dark
        if self.in_graph:
            found = float(logit > 0)
            boxes = np.float32([[[8, 8, 16, 16]]]) * found
            score, none = np.full((1, 1), found, np.float32), np.zeros((1, 1), np.float32)
            return {"count": score, "boxes": boxes, "scores": score, "labels": none}
        maps = np.full((1, 7, 4, 4), -20, np.float32)
        maps[0, :, 1, 1] = (0, 0, 0, 0, logit, 20, -20)
        return {"p3": maps}

    def close(self) -> None:
        pass


RAW = RawMaps(("p3",), (8,), (((8.0, 8.0),),), classes=2)
INPUT = InputContract(32, 32)


def finding(dark: float) -> Pipeline:
    return Pipeline(Finder(dark), INPUT, RAW, ("cat", "dog"))


def pictures(folder: Path, *, objects: bool = True) -> Dataset:
    """Three bright pictures and a dark one, each with a cat of 8 x 8 pixels at (8, 8), or with nothing."""
    described: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    described["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    for number, shade in enumerate((255, 255, 255, 0), start=1):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((32, 32, 3), shade, np.uint8))
        described["images"].append({"id": number, "file_name": f"{number}.png", "width": 32, "height": 32})
        if objects:
            box = {"image_id": number, "category_id": 1, "bbox": [8, 8, 8, 8], "area": 64, "iscrowd": 0}
            described["annotations"].append({"id": number, **box})
    path = folder / "annotations.json"
    path.write_text(json.dumps(described))
    return load_dataset(path, need_objects=objects)


def test_one_object_of_four_lost_is_a_quarter_of_ap(tmp_path: Path) -> None:
    """Precision stays 1 up to a recall of 0.75: 76 of 101 recall points are left."""
    dataset, whole, part = pictures(tmp_path), finding(8.0), finding(-20.0)
    found = measure_accuracy(whole, part, dataset, 3.5)
    exact = ap_difference(dataset, validate(whole, dataset).predictions, validate(part, dataset).predictions)
    assert found == Accuracy(
        data=dataset.name,
        images=4,
        reference=pytest.approx(1.0),
        measured=pytest.approx(76 / 101),
        lost=pytest.approx(100 * 25 / 101),
        interval=(pytest.approx(100 * exact.low), pytest.approx(100 * exact.high)),
        confidence=0.95,
        allowed=3.5,
    )
    assert 0 <= exact.low < 25 / 101 < exact.high < 1
    gained = measure_accuracy(part, whole, dataset, 3.5)
    assert gained.lost == pytest.approx(-100 * 25 / 101)
    assert gained.interval == (pytest.approx(-100 * exact.high), pytest.approx(-100 * exact.low))


def test_the_thresholds_of_a_graph_hold_for_both_sides(tmp_path: Path) -> None:
    """An object that torch finds at 0.2 only is not lost where the graph asks for 0.25."""
    dataset, graph = pictures(tmp_path), GraphDetections(2, conf=0.25, max_det=1)
    artifact = Pipeline(Finder(-20.0, in_graph=True), INPUT, graph, ("cat", "dog"))
    assert measure_accuracy(finding(-1.38), artifact, dataset, 1.0).lost == 0
    assert measure_accuracy(finding(-0.8), artifact, dataset, 1.0).lost == pytest.approx(100 * 25 / 101)


def test_pictures_without_objects_have_no_ap_to_lose(tmp_path: Path) -> None:
    found = measure_accuracy(finding(8.0), finding(-20.0), pictures(tmp_path, objects=False), 1.0)
    assert (found.reference, found.measured, found.lost) == (0.0, 0.0, 0.0)


def test_the_miss_is_told_in_points() -> None:
    with pytest.raises(GateError) as told:
        require_accuracy(replace(LOST, lost=1.5), "cpu-onnx-int8")
    assert told.value.message == (
        "cpu-onnx-int8 loses 1.50 AP points on 72 images of cells (54.18 -> 53.18; 95% interval of the loss 0.40 to "
        "1.60); 1 are allowed"
    )


def test_both_sides_are_measured_and_written_down(
    small_weights: Path, labelled: Dataset, tmp_path: Path
) -> None:
    made = export(small_weights, "cpu-onnx-fp32", tmp_path / "made", ExportOptions(data=labelled))
    accuracy = Artifact.open(made.path).manifest.accuracy
    assert accuracy is not None
    assert (accuracy.images, accuracy.allowed) == (4, 1.0)
    assert accuracy.lost == pytest.approx(100 * (accuracy.reference - accuracy.measured))
    assert abs(accuracy.lost) < 0.01
    low, high = accuracy.interval
    assert low <= accuracy.lost <= high


def test_beyond_the_limit_nothing_is_left(small_weights: Path, labelled: Dataset, tmp_path: Path) -> None:
    options = ExportOptions(data=labelled, max_ap_drop=-1.0)  # not even a gain is enough
    with pytest.raises(GateError, match="AP points"):
        export(small_weights, "cpu-onnx-fp32", tmp_path / "made", options)
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_with_a_foreign_accuracy_is_refused(small_artifact: Path) -> None:
    described = json.loads((small_artifact / "manifest.json").read_text())
    described["accuracy"] = {"data": "cells"}
    with pytest.raises(DamagedFileError, match="accuracy"):
        Manifest.from_json(json.dumps(described))
