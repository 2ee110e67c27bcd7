"""The roofline of a device as SVG.

It shows what its limits allow at each arithmetic intensity, and the artifacts under them.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeyolo.support.svg import Frame, Scale, figure, marker, tag, text, tip
from edgeyolo_bench.limits.roofline import Limits, Placement
from edgeyolo_bench.render.page.scatter import series, shape, target_legend
from edgeyolo_bench.render.result_table import placed_label, verdict_words

WIDTH, HEIGHT = 960, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 930, 36, 360


def roofline_chart(limits: Limits) -> str:
    """The figure, "" where nothing stands under the limits."""
    if not limits.placements:
        return ""
    peaks = limits.peaks
    used = sorted({item.arithmetic for item in limits.placements}, key=lambda name: peaks.gops(name) or 0)
    roofs = [(name, peaks.gops(name) or 0.0) for name in used]
    highest, knee = roofs[-1][1], max(rate for _, rate in roofs) / peaks.gbps
    xs = [item.intensity for item in limits.placements]
    x = Scale.around([*xs, knee, min(*xs, knee) / 3, max(xs) * 1.5], _LEFT, _RIGHT, log=True)
    y = Scale.around([item.reached for item in limits.placements] + [highest * 1.3], _BOTTOM, _TOP, log=True)
    frame = Frame(x, y)
    parts = [frame.axes("operations per byte, every layer through memory", "billions of operations a second")]
    parts += [_roof(name, rate, peaks.gbps, frame) for name, rate in roofs]
    parts += [_placed(item, frame) for item in limits.placements]
    label = f"Roofline of {limits.device}: {len(limits.placements)} measurements"
    targets = (item.label.rpartition(" ")[2] for item in limits.placements)
    return target_legend(targets) + figure("".join(parts), WIDTH, HEIGHT, label)


def _roof(name: str, rate: float, gbps: float, frame: Frame) -> str:
    x, y = frame.x, frame.y
    knee = rate / gbps
    left = max(x.low, y.low / gbps)
    places = [(left, left * gbps), (min(max(knee, left), x.high), min(rate, x.high * gbps)), (x.high, rate)]
    path = "".join(f"{'L' if n else 'M'}{x(a):.1f},{y(b):.1f}" for n, (a, b) in enumerate(places))
    words = f"{name}: {rate:.0f} Gop/s"
    return tag("path", class_="roof", d=path) + text(
        words, x.end - 4, y(rate) - 7, class_="label", text_anchor="end"
    )


def _placed(item: Placement, frame: Frame) -> str:
    across, up = frame.x(item.intensity), frame.y(item.reached)
    target = item.label.rpartition(" ")[2]
    odd = "" if item.verdict == "possible" else " odd"
    lines = placement_facts(item)
    label = "; ".join(f"{name} {value}" for name, value in lines)
    mark = marker(shape(target), across, up, class_=f"mark {series(target)}{odd}")
    return tag("g", mark, class_="point", tabindex=0, role="img", aria_label=label, data_tip=tip(lines))


def placement_facts(item: Placement) -> Sequence[tuple[str, str]]:
    """The lines of a tooltip."""
    lines = [
        ("", placed_label(item)),
        ("computes in", item.arithmetic),
        ("reached", f"{item.reached:.1f} Gop/s"),
        ("attainable", f"{item.attainable:.1f} Gop/s"),
        ("limit by layers", f"{item.limit_ms:.2f} ms of {item.latency_ms:.2f} ms"),
        ("share of the limit", f"{item.share:.0%}"),
    ]
    if words := verdict_words(item):
        lines.append(("", words))
    return lines
