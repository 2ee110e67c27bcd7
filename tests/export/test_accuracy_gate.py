"""The accuracy gate: AP before and after, in the manifest or against the export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the export extra")
pytest.importorskip("faster_coco_eval", reason="needs the eval extra")

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.manifest import Accuracy, Manifest
from edgeyolo.datasets import Dataset, load_dataset
from edgeyolo.datasets.scenes import write_dataset
from edgeyolo.errors import DamagedFileError, GateError
from edgeyolo.export import ExportOptions, export
from edgeyolo.export.accuracy_gate import require_accuracy

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
