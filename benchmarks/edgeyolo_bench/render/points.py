"""Points of the AP-latency figure, and the Pareto front among them.

The figure is the paper's Figure 1 for your device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edgeyolo_bench.paper.beside_paper import COCO_CLASSES, image_ms, of_coco
from edgeyolo_bench.paper.paper_tables import PaperRow, read_rows
from edgeyolo_bench.values.measurement import Measurement
from edgeyolo_bench.values.report import Report

COCO = "COCO val2017"
_COCO_IMAGES = 5000  # the whole of val2017: only then is an AP on the scale of the paper's


@dataclass(frozen=True)
class Point:
    """One network in the figure.

    It has `latency_ms` per image (inference alone), its AP as a fraction of 1 and which `data` that is of.

    `borrowed`: the AP is the paper's for the network, because the artifact has random weights; `front`: no point of
    the same device and data is both faster and better. `target` is "" for the paper's own points. `reason`: why
    the speed may not be quoted; "" where it may.
    """

    name: str
    device: str
    target: str
    latency_ms: float
    ap: float
    data: str
    imgsz: int
    low: float | None = None
    high: float | None = None
    borrowed: bool = False
    front: bool = False
    reason: str = ""

    @property
    def fps(self) -> float:
        """Images a second."""
        return 1e3 / self.latency_ms


def measured_points(report: Report) -> tuple[Point, ...]:
    """One point for every artifact whose AP is known, fronts marked.

    Those whose speed may not be quoted carry the reason, and are on no front.
    """
    best: dict[tuple[str, str], Point] = {}
    for item in report.measurements:
        point = _point(item)
        key = item.device, item.artifact.sha256
        better = point and not point.reason and (item.scenario.name == "paper" or best.get(key, point).reason)
        if point and (key not in best or better):
            best[key] = point
    return mark_front(best.values())


def paper_points(number: int = 2) -> tuple[Point, ...]:
    """The rows of one of the paper's tables that have FPS and AP of val2017.

    Fronts marked by GPU.
    """
    rows = (row for row in read_rows() if isinstance(row, PaperRow) and row.table == number)
    return mark_front(
        Point(row.model, row.gpu or "", "", row.latency_ms, row.ap_val, COCO, row.imgsz or 0)
        for row in rows
        if row.latency_ms and row.ap_val
    )


def beside_paper_points(points: Sequence[Point]) -> bool:
    """Return True where the paper's points may stand among these.

    All are AP of COCO's validation images.
    """
    return bool(points) and all(point.data == COCO for point in points)


def mark_front(points: Iterable[Point]) -> tuple[Point, ...]:
    """Mark those that no other of the same device and data beats.

    None at most as slow and better, or faster and as good.
    """
    given = tuple(points)
    return tuple(
        replace(point, front=not point.reason and not any(_beats(other, point) for other in given))
        for point in given
    )


def front(points: Sequence[Point]) -> tuple[tuple[Point, ...], ...]:
    """The Pareto fronts, fastest first: one for each device and data."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in sorted(points, key=lambda point: (point.latency_ms, -point.ap)):
        if point.front:
            groups.setdefault((point.device, point.data), []).append(point)
    return tuple(tuple(group) for group in groups.values())


def _beats(one: Point, other: Point) -> bool:
    if one.reason or (one.device, one.data) != (
        other.device,
        other.data,
    ):  # what may not be quoted beats nothing
        return False
    at_least = one.latency_ms <= other.latency_ms and one.ap >= other.ap
    return at_least and (one.latency_ms, one.ap) != (other.latency_ms, other.ap)


def _point(item: Measurement) -> Point | None:
    milliseconds, found = image_ms(item), _ap(item)
    if milliseconds is None or found is None:
        return None
    ap, data, borrowed = found
    stage = item.stage("inference")
    middle = stage.quantile(0.5) if stage else None
    images = item.scenario.query_images
    low, high = (middle.low, middle.high) if middle else (None, None)
    return Point(
        item.artifact.name, item.device, item.artifact.target, milliseconds, ap, data, max(item.artifact.size),
        low / images if low else None, high / images if high else None, borrowed,
        reason="" if item.reportable else "; ".join(item.reasons) or "too few queries",
    )  # fmt: skip


def _ap(item: Measurement) -> tuple[float, str, bool] | None:
    """(AP, data, whether it is the paper's).

    The paper's only for random weights at the paper's classes and size.
    """
    if item.accuracy is not None and item.accuracy.ap is not None:
        whole = of_coco(item) and item.accuracy.images == _COCO_IMAGES
        return item.accuracy.ap, COCO if whole else item.accuracy.data, False
    facts = item.artifact
    if not facts.random_weights or facts.classes != COCO_CLASSES:
        return None
    for row in read_rows():
        known = isinstance(row, PaperRow) and row.network == facts.model and row.table in (1, 2)
        if known and isinstance(row, PaperRow) and row.ap_val and (row.imgsz, row.imgsz) == facts.size:
            return row.ap_val, COCO, True
    return None
