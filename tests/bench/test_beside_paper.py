"""Ours beside the paper's: which measurement stands in which row, and why it may not be comparable."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeyolo_bench.paper.beside_paper import METRIC, Figure, Line, compare, is_in
from edgeyolo_bench.paper.paper_tables import Improvement
from edgeyolo_bench.render.markdown import to_markdown
from edgeyolo_bench.render.page import render
from edgeyolo_bench.render.points import beside_paper_points, measured_points
from edgeyolo_bench.render.result_table import beside_paper, number, results
from edgeyolo_bench.render.table import notes
from edgeyolo_bench.values.measurement import AccuracyFacts, Measurement
from edgeyolo_bench.values.report import Report

from .sample import DEVICE, measurement, sample_report


def report(*items: Measurement) -> Report:
    return replace(sample_report(), measurements=items)


def lines(found: Report, table: int, network: str) -> list[Line]:
    return [line for line in compare(found, table, (network,)) if line.measurement]


def test_ours_theirs_and_the_difference() -> None:
    (line,) = lines(report(measurement("yolov7", "cpu-onnx-fp32", ap=0.500)), 2, "yolov7")
    fps, ap = line.figure("fps"), line.figure("ap")
    assert line.measurement is not None
    assert fps.ours == pytest.approx(1e3 / line.measurement.stages[0].median) and fps.paper == 161
    assert fps.ratio == pytest.approx((fps.ours or 0) / 161)
    assert ap.difference == pytest.approx(-0.012)
    assert line.figure("params").ours == pytest.approx(36.905341)
    assert line.figure("gflops").ours == pytest.approx(104.511, abs=0.001)
    assert line.figure("ap50") == Figure("ap50", pytest.approx(0.7), 0.697)


def test_why_a_row_is_not_comparable() -> None:
    (line,) = lines(report(measurement("yolov7", "cpu-onnx-fp32", ap=0.500)), 2, "yolov7")
    said = "\n".join(line.reasons)
    assert (
        "V100 in FP16 with PyTorch in the paper, Example CPU 9 <9004> in FP32 with ONNX Runtime here" in said
    )
    assert "rectangular batches of COCO in the paper, square images of val2017 (5000) here" in said
    assert "AP50 to AP large: COCO test-dev in the paper" in said
    assert "pixels" not in said and "classes" not in said and "batch 1" not in said


@pytest.mark.parametrize(
    ("item", "table", "words"),
    [
        (measurement("yolov7", "cpu-onnx-fp32", random=True), 2, "random weights: measured for speed only"),
        (measurement("yolov7", "cpu-onnx-fp32"), 2, "AP was not measured"),
        (measurement("yolov7", "cpu-onnx-fp32", size=320), 2, "640 pixels in the paper, 320x320 here"),
        (measurement("yolov7", "cpu-onnx-fp32", classes=3), 2, "3 classes here, COCO's 80 in the paper"),
        (measurement("yolov7", "cpu-onnx-fp32", scenario="single-stream"), 2, "within single-stream"),
        (measurement("yolov7", "cpu-onnx-fp32", count=5), 2, "not reportable: 5 queries"),
        (measurement("yolov7-tiny", "cpu-onnx-fp32", size=416), 1, "batch 32 in the paper, 1 here"),
        (measurement("yolov7-d6", "cpu-onnx-fp32", size=1280), 1, "its training form"),
        (measurement("yolov7", "cpu-openvino-int8"), 9, "in INT8 with OpenVINO here"),
        (
            measurement("yolov7x", "cpu-onnx-fp32", ap=0.5),
            10,
            "FP16 in the paper, FP32 here",
        ),
    ],
)
def test_every_kind_of_difference_is_named(item: Measurement, table: int, words: str) -> None:
    (line, *_) = lines(report(item), table, item.artifact.model)
    assert words in "\n".join(line.reasons), line.reasons


def test_tensorrt_is_named_and_the_gpu_is_the_device() -> None:
    from edgeyolo_bench.values.device import GpuFacts

    item = measurement("yolov7", "cpu-onnx-fp32")
    item = replace(item, artifact=replace(item.artifact, target="v100-trt-fp16", precision="fp16"))
    found = replace(report(item), devices=(replace(DEVICE, gpus=(GpuFacts("Tesla V100"),)),))
    (line,) = lines(found, 2, "yolov7")
    assert "Tesla V100 in FP16 with TensorRT here" in line.reasons[0]
    assert "the paper does without TensorRT" in line.reasons


def test_unreportable_runs_give_no_speed() -> None:
    (line,) = lines(report(measurement("yolov7", "cpu-onnx-fp32", count=5)), 2, "yolov7")
    assert line.figure("fps").ours is None and line.figure("fps").ratio is None
    assert line.figure("params").ours is not None


def test_the_rows_own_size_wins_over_others() -> None:
    both = report(*(measurement("yolov7-tiny", "cpu-onnx-fp32", size=size) for size in (416, 320)))
    sizes = [line.measurement.artifact.size[0] for line in lines(both, 1, "yolov7-tiny") if line.measurement]
    assert sizes == [416, 320]


def test_run_nearest_to_the_protocol_is_quoted() -> None:
    single = measurement("yolov7", "cpu-onnx-fp32", scenario="single-stream")
    paper = measurement("yolov7", "cpu-onnx-fp32")
    wide = replace(paper, scenario=replace(paper.scenario, batch=32, query_images=32))
    (line,) = lines(report(single, wide, paper), 2, "yolov7")
    assert line.measurement == paper
    (line,) = lines(report(single, paper, wide), 1, "yolov7")
    assert line.measurement == wide


def test_networks_that_we_do_not_have_print_the_papers_values_only() -> None:
    found = beside_paper(sample_report(), 2)
    (row,) = (row for row in found.texts() if row[0] == "YOLOX-S")
    assert row[found.columns.index("size")] == "640"
    assert row.count("–") == 6 and "102" in row and "40.5%" in row
    assert len([row for row in found.texts() if row[0] == "YOLOv7"]) == 3  # three targets


def test_improvement_rows_are_printed_as_they_are() -> None:
    found = beside_paper(report(), 1)
    improved = [
        row
        for row, line in zip(found.texts(), compare(report(), 1), strict=True)
        if isinstance(line.row, Improvement)
    ]
    assert len(improved) == 6
    assert improved[0][0] == "improvement" and {"-43%", "-15%", "+0.4"} <= set(improved[0])


def test_notes_are_numbered_once_and_found_from_their_rows() -> None:
    found = beside_paper(sample_report(), 2, ("yolov7",))
    assert [note.partition(".")[0] for note in found.notes] == [str(n + 1) for n in range(len(found.notes))]
    for row in found.texts():
        assert all(1 <= int(number) <= len(found.notes) for number in row[-1].split(", "))


def test_table_10_compares_precision_and_threshold() -> None:
    given = report(measurement("yolov7x", "cpu-onnx-fp32", ap=0.529))
    found = beside_paper(given, 10)
    assert [row[found.columns.index("precision")] for row in found.texts()[:4]] == [
        "FP16",
        "FP32",
        "FP16",
        "FP32",
    ]
    pairs = zip(found.texts(), compare(given, 10), strict=True)
    comparable = [row[2:4] for row, line in pairs if line.measurement and "IoU" not in "".join(line.reasons)]
    assert comparable == [("FP16", "0.65"), ("FP32", "0.65")]
    accuracy = given.measurements[0].accuracy
    assert accuracy is not None
    both = replace(accuracy, metrics={**accuracy.metrics, METRIC: 0.531})
    again = report(replace(given.measurements[0], accuracy=both))
    lines = compare(again, 10)
    assert [line.figure("ap").ours for line in lines[:4]] == [0.529, 0.529, 0.531, 0.531]
    assert [line.figure("ap").difference for line in lines[:4]] == pytest.approx([0.0, -0.001, 0.001, 0.0])
    assert not any("IoU" in reason for line in lines for reason in line.reasons)


def test_tables_of_a_report() -> None:
    tiny = report(measurement("yolov7-tiny", "cpu-onnx-fp32", size=416))
    assert [table for table in (1, 2, 9, 10) if is_in(tiny, table)] == [1]


def test_cells_sort_by_what_they_begin_with() -> None:
    table = results(sample_report())
    place = table.columns.index("p50 ms")
    first = table.rows[0][place]
    assert isinstance(first.value, float) and first.text.startswith(f"{first.value:g}"[:4])
    assert number(None, 2).text == "–" and number(0.5, 1, "%", 100).text == "50.0%"


def test_slow_devices_keep_their_digits_beside_the_papers() -> None:
    item = measurement("yolov7-e6e", "cpu-onnx-fp32", size=1280)
    (stage,) = item.stages
    slow = replace(
        item,
        stages=(replace(stage, quantiles=tuple(replace(each, value=6051.0) for each in stage.quantiles)),),
    )
    found = beside_paper(report(slow), 2, ("yolov7-e6e",))
    (row,) = (row for row in found.texts() if row[1])
    at = found.columns.index("FPS")
    assert row[at : at + 2] == ("0.17", "36")


def test_a_warning_of_several_is_said_once() -> None:
    one, two, three = (measurement(name, "cpu-onnx-fp32") for name in ("yolov7-tiny", "yolov7", "yolov7x"))
    warned = [
        replace(one, warnings=("random", "drifts")), replace(two, warnings=("random",)),
        replace(three, warnings=("random", "drifts", "of all")),
    ]  # fmt: skip
    said = notes(replace(report(*warned), warnings=("of all",)))
    assert [line for line in said if line.endswith((": random", ": drifts", ": of all"))] == [
        "all 3: random",
        f"{one.label}, {three.label}: drifts",
        "note: of all",
    ]


CELLS = replace(
    measurement("yolov7", "cpu-onnx-fp32", classes=3, ap=0.7),
    accuracy=AccuracyFacts(0.7, 0.9, "cells", 8, {"AP75": 0.8}),
)  # fmt: skip


def test_nothing_is_subtracted_that_is_of_something_else() -> None:
    """Three classes on eight pictures are no COCO: ours and the paper's stand side by side, without a difference."""
    (line,) = lines(report(CELLS), 2, "yolov7")
    for figure in line.figures:
        if figure.name not in ("params", "gflops"):
            assert figure.difference is None and figure.ratio is None, figure.name
    assert line.figure("ap").ours == 0.7
    assert "AP of cells, which is not the paper's: no difference" in line.reasons


def test_speeds_at_another_size_have_no_ratio() -> None:
    (line,) = lines(report(measurement("yolov7", "cpu-onnx-fp32", size=320, ap=0.4)), 2, "yolov7")
    assert line.figure("fps").ours and line.figure("fps").ratio is None


@pytest.mark.parametrize(
    ("item", "command", "shown"),
    [
        (CELLS, "edgeyolo bench cells-onnx", False),
        (CELLS, "edgeyolo bench --table 2 --weights yolov7=cells.pt", True),
        (measurement("yolov7", "cpu-onnx-fp32", ap=0.5), "edgeyolo bench yolov7-onnx", True),
        (measurement("yolov7", "cpu-onnx-fp32", classes=3, ap=0.5), "edgeyolo bench yolov7-onnx", False),
        (measurement("yolov7", "cpu-onnx-fp32"), "edgeyolo bench yolov7-onnx", False),
        (measurement("yolov7", "cpu-onnx-fp32", random=True), "edgeyolo bench --table 2", True),
    ],
)
def test_the_papers_tables_appear_where_they_belong(item: Measurement, command: str, shown: bool) -> None:
    found = replace(report(item), command=command)
    assert is_in(found, 2) == shown
    assert ("The paper's Table 2" in to_markdown(found)) == shown
    assert ('id="paper-2"' in render(found)) == shown


def test_the_papers_points_stand_among_those_of_coco_only() -> None:
    coco = measured_points(report(measurement("yolov7", "cpu-onnx-fp32", ap=0.5)))
    assert beside_paper_points(coco)
    assert not beside_paper_points(measured_points(report(CELLS)))
    assert not beside_paper_points((*coco, *measured_points(report(CELLS))))
    assert 'id="with-paper"' not in render(report(CELLS))


def test_a_ratio_of_speeds_carries_its_notes() -> None:
    found = beside_paper(report(measurement("yolov7", "cpu-onnx-fp32", ap=0.5)), 2, ("yolov7",))
    (row,) = (row for row in found.rows if row[0].text.lower() == "yolov7")
    ratio, numbers = (row[found.columns.index(name)].text for name in ("ratio", "notes"))
    assert numbers and ratio.endswith(f"(notes {numbers})")
