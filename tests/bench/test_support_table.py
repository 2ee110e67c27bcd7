"""The support table is what the records and the manifests of artifacts say, and nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import support_table
from support_sources import Proof, artifact_proofs

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.errors import DamagedFileError

RESULTS = Path(__file__).parents[2] / "benchmarks/results"


def record(folder: Path, name: str, content: Any) -> None:
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def undated(proofs: list[Proof]) -> list[Proof]:
    return [replace(proof, when="") for proof in proofs]


def test_the_committed_table_is_what_the_records_give() -> None:
    committed = support_table.load(RESULTS / "support.json")
    assert undated(committed) == undated(support_table.gather(RESULTS, [])), "write it: make support-table"
    words = (RESULTS / "support.md").read_text(encoding="utf-8")
    assert words == "\n".join(support_table.lines(committed)) + "\n"
    assert all(proof.when for proof in committed)


def test_a_manifest_is_told_with_its_figures(small_artifact: Path) -> None:
    manifest = Artifact.open(small_artifact).manifest
    assert manifest.parity is not None
    (proof,) = artifact_proofs([small_artifact])
    assert (proof.network, proof.target) == (manifest.model, "cpu-onnx-fp32")
    assert proof.proof == "maps" and proof.holds is True and proof.by == "onnxruntime"
    assert proof.deviation == manifest.parity.worst and proof.tolerance == manifest.parity.tolerance
    assert proof.artifact == Artifact.open(small_artifact).sha256


def test_artifacts_stay_in_the_table_when_their_folder_is_gone(small_artifact: Path, tmp_path: Path) -> None:
    first = support_table.gather(tmp_path, [small_artifact])
    record(tmp_path, "support", support_table.plain(first))
    assert support_table.gather(tmp_path, []) == first
    assert support_table.gather(tmp_path, [small_artifact]) == first, "given again, it is there once"


def test_a_damaged_artifact_proves_nothing(small_artifact: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(small_artifact, tmp_path / "copy")
    (copy / "model.onnx").write_bytes(b"other")
    with pytest.raises(DamagedFileError):
        list(artifact_proofs([tmp_path]))


def test_rows_of_records_are_proofs_by_what_they_hold(tmp_path: Path) -> None:
    rows = [
        {"target": "cpu-onnx-fp32", "deviation": 1e-6, "AP": 0.5, "run_by": "onnxruntime", "latency_ms": 7.0},
        {
            "target": "jetson-trt-int8",
            "deviation": 0.3,
            "AP": 0.49,
            "run_by": "a stand-in",
            "latency_ms": None,
        },
        {"target": "edgetpu-tflite-int8", "refused": "it cannot"},
        {"target": "cpu-onnx-int8", "AP": 0.3, "how": "NNCF's defaults", "run_by": "other"},
    ]
    record(
        tmp_path,
        "targets",
        {"weights": "yolov7x-mine.pt", "imgsz": 320, "data": "d", "images": 9, "rows": rows},
    )
    record(tmp_path, "exports", [
        {"network": "yolov7", "target": "cpu-onnx-fp32", "imgsz": 640, "deviation": 2e-4, "tolerance": 1e-4},
        {"network": "yolov7", "target": "ane-coreml-fp16", "failed": "0.2 away"},
        {"seconds": 3},
    ])  # fmt: skip
    found = {(each.network, each.target, each.proof): each for each in support_table.gather(tmp_path, [])}
    assert {key: each.holds for key, each in found.items()} == {
        ("yolov7", "cpu-onnx-fp32", "maps"): False,
        ("yolov7", "ane-coreml-fp16", "refused"): False,
        ("yolov7x", "cpu-onnx-fp32", "maps"): True,
        ("yolov7x", "cpu-onnx-fp32", "accuracy"): None,
        ("yolov7x", "cpu-onnx-fp32", "latency"): None,
        ("yolov7x", "jetson-trt-int8", "maps"): True,
        ("yolov7x", "jetson-trt-int8", "accuracy"): None,
        ("yolov7x", "edgetpu-tflite-int8", "refused"): None,
    }
    judged = found["yolov7x", "jetson-trt-int8", "accuracy"]
    assert judged.by == "a stand-in" and judged.lost == pytest.approx(1.0) and judged.size == 320
    assert all(each.when for each in found.values())


def test_a_target_that_fails_is_not_among_those_that_hold(tmp_path: Path) -> None:
    record(tmp_path, "exports", [
        {"network": "yolov7", "target": "cpu-onnx-fp32", "deviation": 2e-4, "tolerance": 1e-4},
        {"network": "yolov7x", "target": "cpu-onnx-fp32", "deviation": 2e-6, "tolerance": 1e-4},
    ])  # fmt: skip
    (line,) = (
        each
        for each in support_table.summaries(support_table.gather(tmp_path, []))
        if each.target == "cpu-onnx-fp32"
    )
    assert line.maps == ("yolov7x",) and line.refused == ("yolov7",)


def test_a_date_stays_until_the_record_changes(tmp_path: Path) -> None:
    row = {"network": "yolov7", "target": "cpu-onnx-fp32", "deviation": 1e-6, "tolerance": 1e-4}
    record(tmp_path, "exports", [row])
    (proof,) = support_table.gather(tmp_path, [])
    old = replace(proof, when="2020-01-01T00:00:00+00:00")
    record(tmp_path, "support", {"rows": [asdict(old)]})
    assert support_table.gather(tmp_path, []) == [old]
    record(tmp_path, "exports", [row | {"deviation": 2e-6}])
    assert support_table.gather(tmp_path, [])[0].when[:4] != "2020"


def test_readme_shows_the_short_form_between_its_marks() -> None:
    begin, end = support_table.MARKS
    text = f"before\n{begin}\nold\n{end}\nafter"
    assert support_table.into_readme(text, ["| a |"]) == f"before\n{begin}\n\n| a |\n\n{end}\nafter"
    assert support_table.into_readme("no marks", ["| a |"]) == "no marks"
