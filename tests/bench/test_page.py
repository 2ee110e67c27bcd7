"""The HTML page as text: what is in it, what is escaped, and that nothing comes from a network."""

from __future__ import annotations

import html.parser
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgeyolo.support.svg import Scale
from edgeyolo_bench.limits.gemm import Peak
from edgeyolo_bench.limits.peaks import Peaks
from edgeyolo_bench.limits.roofline import Limits
from edgeyolo_bench.render.page import render, write_page
from edgeyolo_bench.render.page.scatter import scatter
from edgeyolo_bench.render.points import COCO, Point, front, mark_front, measured_points, paper_points
from edgeyolo_bench.values.report import Report

from .sample import DEVICE, busy, measurement, place_sample, sample_report


class Balance(html.parser.HTMLParser):
    """Checks that every element is closed in its order."""

    VOID = frozenset({"meta", "input", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_names_every_section() -> None:
    page = render(sample_report())
    reader = Balance()
    reader.feed(page)
    assert reader.open == []
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles[:2] == ["Accuracy and latency", "Results"]
    assert {"Latency of each query", "Where the time goes", "Compared in turns", "The machine"} < set(titles)
    assert sum(title.startswith("The paper&#x27;s Table") for title in titles) == 4
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_nothing_comes_from_a_network() -> None:
    page = render(sample_report())
    assert "default-src 'none'" in page
    assert not re.search(r"""\s(?:src|href|action)=""", page)
    for word in (
        "http:",
        "https:",
        "url(",
        "@import",
        "import(",
        "fetch(",
        "XMLHttp",
        "<link",
        "<img",
        "<iframe",
    ):
        assert word not in page, word


def test_words_of_a_report_are_text_and_never_markup() -> None:
    report = sample_report()
    device = replace(DEVICE, name="<script>alert(1)</script>")
    first = replace(report.measurements[0], device=device.name, warnings=("</ul><b onclick=x>",))
    page = render(replace(report, devices=(device,), measurements=(first,), limits=(), comparisons=()))
    assert "<script>alert" not in page
    assert "<b onclick" not in page
    assert page.count("<script>") == 1


def test_unreportable_figures_are_explained_and_not_shown() -> None:
    page = render(sample_report())
    assert "yolov7-e6e cpu-openvino-fp32, paper, may not be quoted: 12 queries" in page
    assert "not reportable: 12 queries" in page
    for point in measured_points(sample_report()):
        assert bool(point.reason) == (point.name == "yolov7-e6e") and not (point.reason and point.front)


def test_a_busy_machine_and_a_bug_are_the_first_things_said() -> None:
    report = busy(sample_report())
    wrong = replace(place_sample(report.measurements[0]), verdict="impossible")
    page = render(replace(report, limits=(Limits(DEVICE.name, report.limits[0].peaks, (wrong,)),)))
    warnings = page[page.index('<ul class="warnings"') : page.index("<h2>")]
    assert "38 % of the cores" in warnings
    assert "<details>" not in warnings
    many = replace(report, warnings=tuple(f"remark {number}" for number in range(30)))
    folded = render(many)
    assert folded.index("remark 0") < folded.index("<details>") < folded.index("remark 29")
    assert 'class="bug"' in warnings and "report this as a bug" in warnings
    repeated = replace(report, warnings=report.devices[0].interference.busy)
    assert render(repeated).count("took 38 % of the cores") == 1


def test_a_report_of_one_short_measurement_still_gives_a_page(tmp_path: Path) -> None:
    one = measurement("yolov7-tiny", "cpu-onnx-fp32", size=320, count=8)
    report = Report("2026-11-25T20:00:00Z", "0.1.0", (DEVICE,), (one,))
    write_page(report, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Results</h2>" in page
    assert "Roofline" not in page and "Accuracy and latency" not in page
    assert "Latency of each query" in page


def test_a_report_of_nothing_gives_a_page() -> None:
    assert "Interrupted" in render(Report("2026-11-25T20:00:00Z", "0.1.0", (DEVICE,), (), interrupted=True))


def point(name: str, ms: float, ap: float, device: str = "d", data: str = COCO) -> Point:
    return Point(name, device, "cpu-onnx-fp32", ms, ap, data, 640)


def test_the_front_is_what_nothing_beats() -> None:
    points = mark_front(
        [point("a", 10, 0.4), point("b", 20, 0.5), point("slow", 20, 0.45), point("same", 25, 0.5), point("c", 30, 0.6),
         point("elsewhere", 99, 0.1, device="e"), point("other data", 99, 0.1, data="cells")]
    )  # fmt: skip
    fronts = [[item.name for item in group] for group in front(points)]
    assert fronts == [["a", "b", "c"], ["elsewhere"], ["other data"]]


def test_equal_points_are_both_on_the_front() -> None:
    assert all(item.front for item in mark_front([point("a", 10, 0.4), point("b", 10, 0.4)]))


def test_the_papers_front() -> None:
    """The paper's claim: YOLOv7-E6E has the highest AP among real-time detectors with 30 FPS or more on V100."""
    real_time = [item for item in paper_points(9) if item.device == "V100" and item.fps >= 30 and item.front]
    assert max(real_time, key=lambda item: item.ap).name == "YOLOv7-E6E"
    others = [item.name for item in real_time if not item.name.startswith("YOLOv7")]
    assert others == [
        "PPYOLOE-S",
        "YOLOR-W6",
    ]  # each between two of YOLOv7's: 208 FPS and 42.7 %, 66 and 54.8 %


def test_ap_is_borrowed_only_for_random_weights_at_the_papers_size() -> None:
    points = {item.name + item.target: item for item in measured_points(sample_report())}
    borrowed = points["yolov7cpu-openvino-fp32"]
    assert borrowed.borrowed and borrowed.ap == 0.512
    measured = points["yolov7-tinycpu-openvino-fp32"]
    assert not measured.borrowed and measured.data == COCO
    for other in ({"size": 320}, {"classes": 3}):
        item = measurement("yolov7", "cpu-onnx-fp32", random=True, **other)  # type: ignore[arg-type]
        report = replace(sample_report(), measurements=(item,))
        assert measured_points(report) == ()


def test_the_figure_is_svg_with_every_point_inside() -> None:
    points = measured_points(sample_report())
    drawing = ElementTree.fromstring(scatter(points, paper_points()))
    _, _, width, height = map(float, drawing.attrib["viewBox"].split())
    circles = list(drawing.iter("circle"))
    assert len(circles) >= len(paper_points())
    for circle in circles:
        assert 0 < float(circle.attrib["cx"]) < width and 0 < float(circle.attrib["cy"]) < height
    assert [node.attrib["class"] for node in drawing.iter("path")].count("front") == 1
    for group in drawing.iter("g"):
        assert group.attrib["aria-label"] and group.attrib["tabindex"] == "0"


@pytest.mark.parametrize(
    ("low", "high", "log"), [(1, 5000, True), (5.2, 9.1, True), (0.3, 0.57, False), (7, 7, False)]
)
def test_ticks_are_few_round_and_inside(low: float, high: float, log: bool) -> None:
    scale = Scale.around([low, high], 0, 100, log=log)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 12
    assert all(0 <= scale(value) <= 100 for value in ticks)
    assert ticks == sorted(ticks)


def test_a_roofline_of_one_point_on_a_slow_machine() -> None:
    peaks = Peaks(1, {"fp32": (Peak(0.5, "numpy"),)}, {"copy": 3.0}, 1, None)
    item = replace(
        place_sample(sample_report().measurements[0]), intensity=0.01, reached=0.02, attainable=0.03
    )
    page = render(replace(sample_report(), limits=(Limits(DEVICE.name, peaks, (item,)),)))
    assert "nan" not in page.lower().replace("nanjing", "")
