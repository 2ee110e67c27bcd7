"""Measurements beside the paper's tables.

Ours, theirs, the difference, and why the two may not be comparable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgeyolo_bench.paper.paper_tables import PROTOCOLS, Improvement, PaperRow, table
from edgeyolo_bench.values.device import DeviceFacts
from edgeyolo_bench.values.measurement import AccuracyFacts, Measurement
from edgeyolo_bench.values.report import Report

COCO_CLASSES = 80
COCO_IMAGES = "val2017"
OTHER_IOU = 0.70  # Table 10's second threshold; the first is the usual 0.65
METRIC = f"AP at IoU {OTHER_IOU:g}"  # where `AccuracyFacts.metrics` has it
_RUNTIMES = {"torch": "PyTorch", "onnx": "ONNX Runtime", "openvino": "OpenVINO", "tflite": "LiteRT",
             "trt": "TensorRT", "coreml": "Core ML"}  # fmt: skip
_PRECISIONS = {"fp32": "FP32", "fp16": "FP16", "int8": "INT8"}


@dataclass(frozen=True)
class Figure:
    """One quantity: what was measured here and what the paper prints.

    In the same unit; None where there is none.

    Where the two are of different things (`comparable` is False) they have neither a difference nor a ratio.
    """

    name: str
    ours: float | None
    paper: float | None
    comparable: bool = True

    @property
    def difference(self) -> float | None:
        """Ours less the paper's."""
        if self.ours is None or self.paper is None or not self.comparable:
            return None
        return self.ours - self.paper

    @property
    def ratio(self) -> float | None:
        """Ours divided by the paper's."""
        return None if self.ours is None or not self.paper or not self.comparable else self.ours / self.paper


@dataclass(frozen=True)
class Line:
    """One row of a table with at most one measurement.

    `figures` are its quantities (params in millions, gflops, fps or ms, ap as fractions of 1), `reasons` why
    ours and the paper's may not be comparable.
    """

    row: PaperRow | Improvement
    measurement: Measurement | None = None
    figures: tuple[Figure, ...] = ()
    reasons: tuple[str, ...] = ()

    def figure(self, name: str) -> Figure:
        """The quantity of that name; one without values where the row has none."""
        return next((item for item in self.figures if item.name == name), Figure(name, None, None))


def compare(report: Report, number: int, networks: tuple[str, ...] = ()) -> tuple[Line, ...]:
    """Table `number` with what `report` holds of it.

    A row for every measurement of its network, else the paper's values alone. With `networks` only their
    rows.
    """
    return tuple(line for row in table(number, networks) for line in _lines(row, report))


def is_in(report: Report, number: int) -> bool:
    """Return True for a table whose networks were measured as the paper's.

    It was asked for tables (--table), or a network has COCO's classes and was judged on its validation images.
    """
    asked = "--table" in report.command.split()
    lines = [line.measurement for line in compare(report, number) if line.measurement]
    return any(asked or of_coco(item) for item in lines)


def of_coco(item: Measurement) -> bool:
    """Return True where the AP is of what the paper's is.

    COCO's 80 classes and its validation images.
    """
    return (
        item.artifact.classes == COCO_CLASSES
        and item.accuracy is not None
        and COCO_IMAGES in item.accuracy.data
    )


def _lines(row: PaperRow | Improvement, report: Report) -> Iterator[Line]:
    if isinstance(row, Improvement):
        yield Line(row)
        return
    found = _measured(row, report.measurements)
    if not found:
        yield Line(row, figures=_figures(row, None))
    for item in found:
        reasons = tuple(_reasons(row, item, report.device(item.device)))
        yield Line(row, item, _figures(row, item), reasons)


def _measured(row: PaperRow, measurements: Sequence[Measurement]) -> list[Measurement]:
    """The measurements of the row's network.

    At the row's size if there are any, else at every other; of those of one target and the same weights the
    one that is nearest to the table's protocol.
    """
    own = [item for item in measurements if row.network and item.artifact.model == row.network]
    exact = [item for item in own if row.imgsz in item.artifact.size]
    nearest: dict[tuple[str, ...], Measurement] = {}
    for item in exact or own:
        key = item.device, item.artifact.target, item.artifact.weights
        if key not in nearest or _distance(row, item) < _distance(row, nearest[key]):
            nearest[key] = item
    return list(nearest.values())


def _distance(row: PaperRow, item: Measurement) -> tuple[bool, bool, bool]:
    batch = PROTOCOLS[row.table].batch or 1
    scenario = item.scenario
    return scenario.batch != batch, scenario.name != "paper", scenario.name != "single-stream"


def image_ms(item: Measurement) -> float | None:
    """Milliseconds of inference per image: the median query divided by its images."""
    stage = item.stage("inference")
    return stage.median / item.scenario.query_images if stage else None


def _figures(row: PaperRow, item: Measurement | None) -> tuple[Figure, ...]:
    facts, accuracy = (item.artifact, item.accuracy) if item else (None, None)
    milliseconds = image_ms(item) if item and item.reportable else None
    metrics = dict(accuracy.metrics) if accuracy else {}
    same_ap = item is not None and of_coco(item)
    same_work = facts is not None and facts.size == (row.imgsz, row.imgsz) and facts.classes == COCO_CLASSES
    millions = facts.parameters / 1e6 if facts and facts.parameters else None
    speed = (
        Figure("ms", milliseconds, row.batch32_ms, same_work)
        if row.table == 1
        else Figure("fps", 1e3 / milliseconds if milliseconds else None, row.fps, same_work)
    )
    return (
        Figure("params", millions, row.params),
        Figure("gflops", facts.gflops if facts else None, row.gflops),
        speed,
        Figure("ap", _ap_for(row, accuracy), row.ap_val, same_ap),
        Figure("ap50", accuracy.ap50 if accuracy else None, row.ap50, same_ap),
        Figure("ap75", metrics.get("AP75"), row.ap75, same_ap),
        Figure("ap_small", metrics.get("APs"), row.ap_small, same_ap),
        Figure("ap_medium", metrics.get("APm"), row.ap_medium, same_ap),
        Figure("ap_large", metrics.get("APl"), row.ap_large, same_ap),
    )


def _ap_for(row: PaperRow, accuracy: AccuracyFacts | None) -> float | None:
    """AP by the suppression of the row, if it was measured.

    The usual one's where the row names none.
    """
    if accuracy is None:
        return None
    return accuracy.metrics.get(METRIC, accuracy.ap) if row.iou == OTHER_IOU else accuracy.ap


def _reasons(row: PaperRow, item: Measurement, device: DeviceFacts) -> Iterator[str]:
    if row.imgsz not in item.artifact.size or len(set(item.artifact.size)) > 1:
        height, width = item.artifact.size
        yield f"{row.imgsz} pixels in the paper, {height}x{width} here"
    if row.network == "yolov7-d6":
        yield "the paper counts its training form, auxiliary heads included"
    if item.artifact.classes != COCO_CLASSES:
        yield f"{item.artifact.classes} classes here, COCO's 80 in the paper"
    if row.fps is not None or row.batch32_ms is not None:
        yield from _speed_reasons(row, item, device)
    yield from _accuracy_reasons(row, item)


def _speed_reasons(row: PaperRow, item: Measurement, device: DeviceFacts) -> Iterator[str]:
    target = item.artifact.target.split("-")
    runtime, precision = _RUNTIMES.get(target[1], target[1]), _PRECISIONS.get(target[2], target[2])
    gpu = row.gpu or "V100"
    where = device.gpus[0].name if device.gpus and target[0] not in ("cpu", "edgetpu") else device.cpu.model
    yield f"speed: {gpu} in FP16 with PyTorch in the paper, {where} in {precision} with {runtime} here"
    if runtime == "TensorRT":
        yield "the paper does without TensorRT"
    batch = PROTOCOLS[row.table].batch
    if item.scenario.batch != batch:
        yield f"batch {batch} in the paper, {item.scenario.batch} here"
    if item.scenario.name != "paper":
        yield f"inference within {item.scenario.name} here, inference alone in the paper"
    if not item.reportable:
        yield "not reportable: " + "; ".join(item.reasons)


def _accuracy_reasons(row: PaperRow, item: Measurement) -> Iterator[str]:
    accuracy = item.accuracy
    if item.artifact.random_weights:
        yield "random weights: measured for speed only"
        return
    if accuracy is None:
        yield "AP was not measured: name labelled images with --data"
        return
    if not of_coco(item):
        yield f"AP of {accuracy.data}, which is not the paper's: no difference"
        return
    yield f"AP: rectangular batches of COCO in the paper, square images of {accuracy.data} ({accuracy.images}) here"
    if PROTOCOLS[row.table].details == "test-dev" and row.ap50 is not None:
        yield "AP50 to AP large: COCO test-dev in the paper"
    if accuracy.stand_in:
        yield f"AP by a stand-in for the device: {accuracy.stand_in}"
    if row.table == 10:
        yield from _setting_reasons(row, item, accuracy)


def _setting_reasons(row: PaperRow, item: Measurement, accuracy: AccuracyFacts) -> Iterator[str]:
    if row.precision != _PRECISIONS.get(item.artifact.precision):
        yield f"{row.precision} in the paper, {_PRECISIONS.get(item.artifact.precision, item.artifact.precision)} here"
    if row.iou == OTHER_IOU and METRIC not in accuracy.metrics:
        yield f"suppression by IoU {row.iou:g} in the paper, 0.65 here"
