"""The result in a sentence, the figures as CSV, and a page that can be read in the dark and on a telephone."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from importlib.resources import files

import pytest

from edgeyolo_bench.render.headline import COLUMNS, headline, to_csv
from edgeyolo_bench.render.page import render
from edgeyolo_bench.render.points import front, measured_points
from edgeyolo_bench.values.measurement import Measurement
from edgeyolo_bench.values.report import Report

from .sample import measurement, sample_report

FAST = measurement("yolov7-tiny", "cpu-openvino-int8", size=416, ap=0.34)
GOOD = measurement("yolov7", "cpu-onnx-fp32", ap=0.51)
UNSURE = measurement("yolov7x", "cpu-onnx-fp32", ap=0.53, count=5)


def report(*items: Measurement) -> Report:
    return replace(sample_report(), measurements=items, command="edgeyolo bench a b")


def test_the_result_stands_on_top_in_a_sentence() -> None:
    text = headline(report(FAST, GOOD))
    assert text.startswith("Of 2 measurements yolov7-tiny cpu-openvino-int8 is the fastest: it takes ")
    assert "yolov7 cpu-onnx-fp32 finds most: AP 51.0% on val2017 (5000 images)." in text
    page = render(report(FAST, GOOD))
    assert page.index("is the fastest") < page.index("<main>")


def test_one_measurement_is_compared_with_nothing() -> None:
    assert re.match(r"yolov7 cpu-onnx-fp32 takes \d+ ms an image", headline(report(GOOD)))
    assert "fastest" not in headline(report(GOOD))


def test_unreportable_figures_are_not_quoted() -> None:
    assert (
        headline(report(UNSURE))
        == "There is no figure that may be quoted: 5 queries, at least 64 are needed."
    )
    assert "yolov7 cpu-onnx-fp32 is the fastest" in headline(report(GOOD, UNSURE))


def test_every_figure_is_in_the_csv() -> None:
    odd = replace(GOOD, artifact=replace(GOOD.artifact, name="=SUM(A1)\n"))
    rows = list(csv.DictReader(io.StringIO(to_csv(report(FAST, odd, UNSURE)))))
    assert len(rows) == 3
    assert tuple(rows[0]) == COLUMNS
    assert float(rows[0]["p50_ms"]) == FAST.stages[0].quantile(0.5).value
    assert float(rows[0]["AP"]) == 0.34
    assert rows[1]["model"] == "'=SUM(A1)\\n"  # no formula, one line
    assert (rows[2]["reportable"], rows[2]["reasons"]) == ("False", "5 queries, at least 64 are needed")


def test_every_measured_target_is_in_the_scatter() -> None:
    """One whose speed may not be quoted is drawn with the reason, and beats nothing."""
    points = measured_points(report(GOOD, UNSURE))
    (unsure,) = (point for point in points if point.name == "yolov7x")
    assert unsure.reason and not unsure.front
    assert [point.name for group in front(points) for point in group] == ["yolov7"]
    page = render(report(GOOD, UNSURE))
    assert "not reportable 5 queries" in page
    assert "faded: not reportable" in page


def test_a_measurement_that_cannot_be_drawn_is_named() -> None:
    page = render(report(GOOD, measurement("yolov7-tiny", "cpu-onnx-fp32", size=416)))
    assert "yolov7-tiny cpu-onnx-fp32: not drawn, its AP was not measured" in page


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_words_on_bars_are_legible_in_every_scheme() -> None:
    style = files("edgeyolo_bench.render.page").joinpath("style.css").read_text(encoding="utf-8")
    schemes = re.findall(r"\{[^{}]*--s1:[^{}]*\}", style)
    assert len(schemes) == 3
    for scheme in schemes:
        colours = dict(re.findall(r"--([st]\d): (#[0-9a-f]{6})", scheme))
        for number in range(1, 5):
            assert contrast(colours[f"s{number}"], colours[f"t{number}"]) >= 4.5, (number, colours)
    for number, stage in enumerate(("decode", "preprocess", "inference", "postprocess"), start=1):
        assert re.search(
            rf"\.stage-{stage} {{ background: var\(--s{number}\); color: var\(--t{number}\)", style
        )


@pytest.mark.parametrize("width", [320, 290])
def test_no_column_is_wider_than_a_telephone(width: int) -> None:
    style = files("edgeyolo_bench.render.page").joinpath("style.css").read_text(encoding="utf-8")
    assert f"minmax({width}px" not in style
    assert f"minmax(min({width}px, 100%), 1fr)" in style
