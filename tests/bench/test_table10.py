"""Table 10 from a network to printed rows, on generated pictures and labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.datasets import load_dataset
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.evaluation.validate import open_to_judge, validate
from edgeyolo_bench.measure.jobs import Wanted
from edgeyolo_bench.measure.measure import Labelled, Listener
from edgeyolo_bench.measure.scenarios import choose
from edgeyolo_bench.measure.workload import generated
from edgeyolo_bench.paper.beside_paper import compare
from edgeyolo_bench.paper.paper_run import PaperRun, run_tables

SIDE = 96


@pytest.fixture
def artifact(small_weights: Path, tmp_path: Path) -> Path:
    """The small network under the name of the table's."""
    pytest.importorskip("torch", reason="needs the export extra")
    from edgeyolo.export import export
    from edgeyolo.models import weights

    small = weights.load(small_weights)
    small.network.spec = replace(small.network.spec, name="yolov7x")  # type: ignore[arg-type]
    weights.save(tmp_path / "w.safetensors", small.network, small.class_names, {})
    return export(tmp_path / "w.safetensors", "cpu-onnx-fp32", tmp_path / "artifact").path


def labelled_by(artifact: Path, folder: Path) -> Path:
    """Pictures on which a part of what the artifact finds is said to be there."""
    folder.mkdir()
    images, boxes = [], []
    with open_to_judge(Artifact.open(artifact)) as (pipeline, _):
        names = pipeline.class_names
        for number in range(3):
            picture = cv2.resize(make_scene(number).image, (SIDE, SIDE))
            cv2.imwrite(str(folder / f"{number}.png"), picture)
            images.append({"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE})
            found = pipeline([picture])[0]
            for i in range(0, min(len(found), 40), 4):
                x1, y1, x2, y2 = (float(side) for side in found.xyxy[i])
                box = [x1, y1, max(x2 - x1, 2), max(y2 - y1, 2)]
                boxes.append({
                    "id": len(boxes), "image_id": number, "category_id": int(found.class_id[i]), "bbox": box,
                    "area": box[2] * box[3], "iscrowd": 0,
                })  # fmt: skip
    categories = [{"id": place, "name": name} for place, name in enumerate(names)]
    file = folder / "annotations.json"
    file.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return file


def test_from_a_network_to_the_rows(artifact: Path, tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval", reason="needs the eval extra")
    data = labelled_by(artifact, tmp_path / "data")
    scenario = choose("paper", min_duration=0.01, min_count=1)
    run = PaperRun(
        (10,), Wanted(scenario, generated(), ("cpu-onnx-fp32",)), weights={"yolov7x": artifact},
        labelled=Labelled(str(data)), limits=False,
    )  # fmt: skip
    report = run_tables(run, Listener())
    assert [item.artifact.target for item in report.measurements] == ["cpu-onnx-fp32"]

    expected = {}
    with open_to_judge(Artifact.open(artifact)) as (pipeline, _):
        for iou in (0.65, 0.70):
            expected[iou] = validate(pipeline, load_dataset(data), iou=iou).metrics["AP"]
    assert expected[0.65] and expected[0.65] != expected[0.70]
    rows = [(line.row, line) for line in compare(report, 10) if line.figures]
    settings = [(getattr(row, "precision", None), getattr(row, "iou", None)) for row, _ in rows]
    assert [each for each in settings if each[0]] == [
        ("FP16", 0.65), ("FP32", 0.65), ("FP16", 0.7), ("FP32", 0.7)
    ]  # fmt: skip
    for row, line in rows:
        if (iou := getattr(row, "iou", None)) is not None:
            assert line.figure("ap").ours == pytest.approx(expected[iou], abs=1e-9)
