"""The figures of the page as PNG, from the same data, for papers and slides.

Needs the `eval` extra (matplotlib).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeyolo.errors import RuntimeMissingError
from edgeyolo.evaluation.drawn_names import drawable
from edgeyolo.support.files import atomic_file
from edgeyolo_bench.limits.roofline import Limits
from edgeyolo_bench.render.points import Point, front, measured_points, paper_points
from edgeyolo_bench.values.measurement import STAGES, Measurement
from edgeyolo_bench.values.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"onnx": "#2457c5", "openvino": "#0d7f6c", "tflite": "#bd5208", "torch": "#b3325f", "trt": "#5a7a08",
            "coreml": "#7a4bc9"}  # fmt: skip
_MARKS = {"fp32": "o", "fp16": "s", "bf16": "s", "int8": "D"}
_STAGES = dict(zip(STAGES, ("#9db8ea", "#5f8bdb", "#2457c5", "#102f77"), strict=False))


def write_plots(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write the plots that have something to draw.

    They are ap-latency.png, latency.png, stages.png and roofline-N.png.

    Raises RuntimeMissingError without matplotlib.
    """
    drawings: list[tuple[str, tuple[float, float], Callable[[Axes], None]]] = []
    points, timed = measured_points(report), [item for item in report.measurements if len(item.stages) > 1]
    if points:
        drawings.append(("ap-latency", (9, 5), lambda axes: _draw_points(axes, points)))
    if report.measurements:
        tall = 1 + 0.42 * len(report.measurements)
        drawings.append(("latency", (9, tall), lambda axes: _draw_latency(axes, report.measurements)))
    if timed:
        drawings.append(("stages", (9, 1 + 0.42 * len(timed)), lambda axes: _draw_stages(axes, timed)))
    for number, limits in enumerate(report.limits, start=1):
        if limits.placements:
            drawings.append((f"roofline-{number}", (9, 5), lambda axes, it=limits: _draw_roofline(axes, it)))  # type: ignore[misc]
    return tuple(_save(folder / f"{name}.png", size, draw) for name, size, draw in drawings)


def _save(file: Path, size: tuple[float, float], draw: Callable[[Axes], None]) -> Path:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeMissingError(
            f"plots need matplotlib ({error})", hint="pip install 'edgeyolo[eval]'"
        ) from error
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    with drawable(), atomic_file(file) as draft:  # models are called after their files
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#ecedea", linewidth=0.8)
        axes.set_axisbelow(True)
        draw(axes)
        figure.savefig(draft, dpi=150)
    return file


def _colour(target: str) -> str:
    return _COLOURS.get(target.split("-")[1] if target.count("-") == 2 else "", "#5b6068")


def _draw_points(axes: Axes, points: Sequence[Point]) -> None:
    axes.set_xscale("log")
    theirs = paper_points()
    axes.scatter(
        [p.latency_ms for p in theirs], [100 * p.ap for p in theirs], s=18, facecolors="none", edgecolors="#8b9098",
        label="the paper's Table 2: V100, FP16",
    )  # fmt: skip
    for group in front(points):
        places = [point.latency_ms for point in group], [100 * point.ap for point in group]
        axes.step(*places, where="post", color="#1b1d20", linewidth=1.6, label="Pareto front")
    shown: set[str] = set()
    for point in points:
        colour, label = _colour(point.target), "" if point.target in shown else point.target
        shown.add(point.target)
        face = "white" if point.borrowed else colour
        mark = _MARKS.get(point.target.rpartition("-")[2], "^")
        axes.plot(
            point.latency_ms,
            100 * point.ap,
            mark,
            color=colour,
            markerfacecolor=face,
            label=label,
            ms=8,
            mew=1.8,
        )
        if point.front:
            place = (point.latency_ms, 100 * point.ap)
            axes.annotate(point.name, place, (0, 9), textcoords="offset points", ha="center", fontsize=8)
    axes.set(xlabel="latency in ms per image, inference alone", ylabel="AP, %")
    axes.set_title("Hollow marks: random weights, the AP is the paper's", fontsize=9, loc="left")
    axes.legend(fontsize=8, frameon=False)


def _draw_latency(axes: Axes, items: Sequence[Measurement]) -> None:
    """Draw latencies by quantile.

    They go from the fastest query to the slowest, thick from p50 to p90, the median marked.
    """
    axes.set_xscale("log")
    for row, item in enumerate(items):
        stage = item.stage(item.scenario.judged) or item.stages[0]
        colour = _colour(item.artifact.target)
        axes.plot([stage.minimum, stage.maximum], [row, row], color=colour, linewidth=1)
        axes.plot([stage.median, stage.quantile(0.9).value], [row, row], color=colour, linewidth=5)
        axes.plot(stage.median, row, "|", color="#1b1d20", markersize=13)
    _name_rows(axes, items)
    axes.set(xlabel="ms a query: fastest to slowest; thick from p50 to p90")


def _draw_stages(axes: Axes, items: Sequence[Measurement]) -> None:
    for row, item in enumerate(items):
        parts = [stage for stage in item.stages if stage.name != STAGES[-1]]
        total, start = sum(stage.median for stage in parts), 0.0
        for stage in parts:
            share = 100 * stage.median / total
            label = stage.name if row == 0 else ""
            axes.barh(row, share, left=start, color=_STAGES[stage.name], label=label)
            start += share
    _name_rows(axes, items)
    axes.set(xlabel="share of the median query, %", xlim=(0, 100))
    axes.legend(fontsize=8, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))


def _name_rows(axes: Axes, items: Sequence[Measurement]) -> None:
    axes.set_yticks(range(len(items)), [f"{item.label} {item.scenario.name}" for item in items], fontsize=8)
    axes.invert_yaxis()


def _draw_roofline(axes: Axes, limits: Limits) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    peaks, items = limits.peaks, limits.placements
    xs = [item.intensity for item in items]
    for arithmetic in sorted({item.arithmetic for item in items}):
        rate = peaks.gops(arithmetic) or 0.0
        knee = rate / peaks.gbps
        right = max(*xs, knee) * 2
        axes.plot([knee / 8, knee, right], [rate / 8, rate, rate], color="#1b1d20", linewidth=1.5)
        axes.annotate(f"{arithmetic}: {rate:.0f} Gop/s", (right, rate), (0, 4), textcoords="offset points", ha="right",
                      fontsize=8)  # fmt: skip
    for item in items:
        target = item.label.rpartition(" ")[2]
        axes.plot(
            item.intensity,
            item.reached,
            _MARKS.get(target.rpartition("-")[2], "^"),
            color=_colour(target),
            ms=7,
        )
    axes.set(
        xlabel="operations per byte, every layer through memory", ylabel="billions of operations a second"
    )
