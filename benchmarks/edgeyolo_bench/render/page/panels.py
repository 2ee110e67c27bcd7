"""Panels of each measurement.

They show the distribution of its latency, and how its stages share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edgeyolo.support.svg import Scale, figure, tag, text, tip
from edgeyolo_bench.render.page.scatter import series
from edgeyolo_bench.values.measurement import STAGES, Measurement, Quantile, StageSummary

_PANEL = (300, 128)


def distributions(measurements: Sequence[Measurement]) -> str:
    """A small histogram for each, from the fastest query to the slowest.

    No outlier is cut off.
    """
    panels = "".join(_distribution(item) for item in measurements)
    return tag("div", panels, class_="panels") if panels else ""


def _judged(item: Measurement) -> StageSummary | None:
    return item.stage(item.scenario.judged) or item.stage("inference")


def _distribution(item: Measurement) -> str:
    stage = _judged(item)
    if stage is None or not stage.histogram.counts:
        return ""
    width, height = _PANEL
    edges, counts = stage.histogram.edges, stage.histogram.counts
    x = Scale(edges[0], max(edges[-1], edges[0] * 1.0001), 8, width - 8, log=True)
    floor, top, most = height - 24, 34, max(counts)
    bars = "".join(
        tag("rect", class_=f"bar {series(item.artifact.target)}", x=x(low), width=max(x(high) - x(low) - 0.6, 0.6),
            y=floor - (floor - top) * count / most, height=max((floor - top) * count / most, 1.2))
        for low, high, count in zip(edges, edges[1:], counts, strict=False) if count
    )  # fmt: skip
    marks = "".join(
        tag("line", class_="quantile", x1=x(q.value), x2=x(q.value), y1=top - 4, y2=floor)
        + text(q.name, x(q.value), top - 8, class_="tick", text_anchor="middle")
        for q in _marks(stage, item, x)
    )
    ends = text(f"{stage.minimum:.2f} ms", 8, height - 8, class_="tick")
    ends += text(f"{stage.maximum:.2f} ms", width - 8, height - 8, class_="tick", text_anchor="end")
    axis = tag("line", class_="axis", x1=8, x2=width - 8, y1=floor, y2=floor)
    lines = [("", item.label), ("stage", stage.name), ("queries", f"{stage.count:,}")]
    lines += [
        (q.name, f"{q.value:.3f} ms" + ("" if q.reportable else ", too few queries")) for q in stage.quantiles
    ]
    label = "; ".join(f"{name} {value}" for name, value in lines)
    drawing = figure(bars + marks + axis + ends, width, height, label, class_="panel")
    caption = tag("figcaption", f"<b>{escape(item.artifact.name)}</b> {escape(item.artifact.target)}"
                  f"<small>{escape(item.scenario.name)}, {stage.count:,} queries</small>")  # fmt: skip
    return tag("figure", caption + drawing, class_="point", tabindex=0, data_tip=tip(lines))


def _marks(stage: StageSummary, item: Measurement, x: Scale) -> list[Quantile]:
    """p50 and the scenario's own percentile, if there is room between them."""
    wanted = (0.5, item.scenario.percentile or 0.9)
    found = [q for q in stage.quantiles if q.q in wanted]
    return [q for n, q in enumerate(found) if n == 0 or x(q.value) - x(found[0].value) > 26]


def stage_split(measurements: Sequence[Measurement]) -> str:
    """One bar of shares for each measurement that timed more than the network."""
    timed = [item for item in measurements if len(_parts(item)) > 1]
    if not timed:
        return ""
    rows = "".join(_split(item) for item in timed)
    keys = "".join(
        tag("li", tag("i", "", class_=f"swatch stage-{name}") + tag("span", name)) for name in STAGES[:-1]
    )
    return tag("ul", keys, class_="legend") + tag("div", rows, class_="splits")


def _parts(item: Measurement) -> list[tuple[str, float]]:
    """Median milliseconds of each stage but the whole."""
    return [(stage.name, stage.median) for stage in item.stages if stage.name != STAGES[-1]]


def _split(item: Measurement) -> str:
    parts = _parts(item)
    total = sum(value for _, value in parts)
    pieces = "".join(
        tag("span", f"{value:.1f}" if value / total > 0.07 else "", class_=f"piece point stage-{name}", tabindex=0,
            style=f"flex-grow:{value / total:.4f}", role="img", aria_label=f"{name} {value:.2f} ms",
            data_tip=tip([("", item.label), (name, f"{value:.2f} ms"), ("share", f"{value / total:.1%}")]))
        for name, value in parts
    )  # fmt: skip
    name = tag("span", f"<b>{escape(item.artifact.name)}</b> {escape(item.artifact.target)}", class_="who")
    return tag(
        "div", name + tag("div", pieces, class_="split") + tag("span", f"{total:.1f} ms", class_="sum")
    )
