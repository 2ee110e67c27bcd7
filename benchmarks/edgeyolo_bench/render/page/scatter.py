"""AP against latency: the paper's Figure 1 for the devices of a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgeyolo.support.svg import Frame, Scale, figure, marker, tag, text, tip
from edgeyolo_bench.render.points import Point, front

WIDTH, HEIGHT = 960, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 930, 36, 400
_RUNTIMES = ("onnx", "openvino", "tflite", "torch", "trt", "coreml")
_SHAPES = {"fp32": "circle", "fp16": "square", "bf16": "square", "int8": "diamond"}


def scatter(points: Sequence[Point], paper: Sequence[Point] = ()) -> str:
    """The figure as SVG, "" where there is nothing to draw.

    `paper` adds the paper's points to it.
    """
    if not points:
        return ""
    shown = [*points, *paper]
    x = Scale.around([point.latency_ms for point in shown], _LEFT, _RIGHT, log=True)
    y = Scale.around([point.ap for point in shown], _BOTTOM, _TOP)
    frame = Frame(x, y)
    parts = [frame.axes("latency in ms per image, inference alone", "AP", y_percent=True)]
    parts += [_line(group, frame, "paper-front") for group in front(paper)]
    parts += [_line(group, frame, "front") for group in front(points)]
    taken = [(x(point.latency_ms), y(point.ap)) for point in shown]
    parts += [_paper_point(point, frame) for point in paper]
    parts += [_point(point, frame, taken) for point in points]
    name = f"AP against latency: {len(points)} points" + (f", {len(paper)} of the paper" if paper else "")
    return figure("".join(parts), WIDTH, HEIGHT, name)


def series(target: str) -> str:
    """The class that gives a target its colour."""
    runtime = target.split("-")[1] if target.count("-") == 2 else ""
    return f"rt-{runtime}" if runtime in _RUNTIMES else "rt-other"


def shape(target: str) -> str:
    """The mark of a target's precision."""
    return _SHAPES.get(target.rpartition("-")[2], "triangle")


def legend(points: Sequence[Point]) -> str:
    """Legend of colours, marks and lines, as HTML."""
    items = []
    if any(point.borrowed for point in points):
        hollow = marker("circle", 10.0, 10.0, class_="mark hollow rt-other")
        items.append(_item(hollow, "hollow: random weights, the AP is the paper's"))
    line = tag("line", class_="front", x1=0, x2=20, y1=10, y2=10)
    items.append(_item(line, "Pareto front: nothing is both faster and better"))
    return target_legend((point.target for point in points), "".join(items))


def target_legend(targets: Iterable[str], more: str = "") -> str:
    """Colours and marks of targets, then `more` items."""
    items = "".join(
        _item(marker(shape(target), 10.0, 10.0, class_=f"mark {series(target)}"), target)
        for target in dict.fromkeys(targets)
    )
    return tag("ul", items + more, class_="legend")


def _item(mark: str, words: str) -> str:
    svg = tag("svg", mark, viewBox="0 0 20 20", width=18, height=18, aria_hidden="true")
    return tag("li", svg + tag("span", words))


def _line(points: Sequence[Point], frame: Frame, name: str) -> str:
    """Front of the points as a staircase.

    Between two points of a front nothing better is known than the faster one.
    """
    places = [(frame.x(point.latency_ms), frame.y(point.ap)) for point in points]
    path = f"M{places[0][0]:.1f},{places[0][1]:.1f}"
    for across, up in places[1:]:
        path += f"H{across:.1f}V{up:.1f}"
    path += f"H{frame.x.end:.1f}"
    return tag("path", class_=name, d=path)


def _point(point: Point, frame: Frame, taken: Sequence[tuple[float, float]]) -> str:
    across, up = frame.x(point.latency_ms), frame.y(point.ap)
    parts = []
    if point.low and point.high:
        ends = frame.x(point.low), frame.x(point.high)
        parts.append(
            tag("line", class_=f"interval {series(point.target)}", x1=ends[0], x2=ends[1], y1=up, y2=up)
        )
    hollow = " hollow" if point.borrowed else ""
    parts.append(marker(shape(point.target), across, up, class_=f"mark {series(point.target)}{hollow}"))
    if point.front and not _crowded(across, up, taken):
        parts.append(text(point.name, across, up - 14, class_="label", text_anchor="middle"))
    lines = facts(point)
    label = "; ".join(f"{name} {value}" for name, value in lines)
    return tag(
        "g", "".join(parts), class_="point", tabindex=0, role="img", aria_label=label, data_tip=tip(lines)
    )


def _crowded(across: float, up: float, taken: Sequence[tuple[float, float]]) -> bool:
    """Return True if a label above a point would cover another point."""
    return any(0 < up - other_up < 28 and abs(other - across) < 48 for other, other_up in taken)


def _paper_point(point: Point, frame: Frame) -> str:
    lines = facts(point)
    label = "; ".join(f"{name} {value}" for name, value in lines)
    circle = tag("circle", class_="paper-mark", cx=frame.x(point.latency_ms), cy=frame.y(point.ap), r=4.5)
    return tag(
        "g", circle, class_="point paper", tabindex=0, role="img", aria_label=label, data_tip=tip(lines)
    )


def facts(point: Point) -> list[tuple[str, str]]:
    """The lines of a point's tooltip."""
    interval = f" [{point.low:.2f}, {point.high:.2f}]" if point.low and point.high else ""
    lines = [
        ("", point.name),
        ("latency", f"{point.latency_ms:.2f} ms{interval}"),
        ("images/s", f"{point.fps:.1f}"),
        ("AP", f"{point.ap:.1%}"),
        ("of", point.data + (", the paper's figure" if point.borrowed else "")),
        ("input", f"{point.imgsz}"),
        ("device", point.device if point.target else f"{point.device}, FP16 in PyTorch, the paper"),
    ]
    if point.target:
        lines.insert(1, ("target", point.target))
    if point.front:
        lines.append(("", "on the Pareto front"))
    return lines
