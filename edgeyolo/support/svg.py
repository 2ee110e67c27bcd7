"""SVG as text: elements, a scale, axes.

Colours come from the page's style sheet, so both colour schemes share it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


def tag(name: str, content: str = "", /, **attributes: object) -> str:
    """An SVG element.

    `class_` and names with `_` become what SVG calls them, None leaves an attribute out.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{said}>{content}</{name}>"


def text(content: str, x: float, y: float, **attributes: object) -> str:
    """A line of text."""
    return tag("text", escape(content), x=x, y=y, **attributes)


def tip(lines: Iterable[tuple[str, str]]) -> str:
    """Text of a tooltip.

    The script reads lines of name and value.
    """
    return "\n".join(f"{name}\t{value}" for name, value in lines)


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` on the way from `start` to `end`, in pixels.

    `log` by their logarithm.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float, *, log: bool = False) -> Scale:
        """A scale that holds the values with a little room."""
        low, high = min(values), max(values)
        if log:
            room = max((high / low) ** 0.08, 1.15)
            return cls(low / room, high * room, start, end, True)
        room = max((high - low) * 0.12, abs(high) * 0.02, 1e-9)
        return cls(low - room, high + room, start, end)

    def __call__(self, value: float) -> float:
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 7) -> list[float]:
        """Round values inside the scale, at most about `most`."""
        return self._log_ticks(most) if self.log else self._linear_ticks(most)

    def _log_ticks(self, most: int) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for mantissas in ((1, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
            found = [m * 10.0**d for d in decades for m in mantissas if self.low <= m * 10.0**d <= self.high]
            if len(found) <= most:
                return found
        return found

    def _linear_ticks(self, most: int) -> list[float]:
        raw = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw)
        first = math.ceil(self.low / step)
        return [n * step for n in range(first, math.floor(self.high / step) + 1)]


@dataclass(frozen=True)
class Frame:
    """The plot area of a chart: its two scales, with y growing upwards."""

    x: Scale
    y: Scale

    def axes(self, x_title: str, y_title: str, *, y_percent: bool = False, x_ticks: int = 7) -> str:
        """Grid, ticks (along x at most about `x_ticks`) and titles."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        parts = []
        for value in self.x.ticks(x_ticks):
            at = self.x(value)
            parts.append(tag("line", class_="grid", x1=at, x2=at, y1=bottom, y2=top))
            parts.append(text(_number(value), at, bottom + 18, class_="tick", text_anchor="middle"))
        for value in self.y.ticks(6):
            at = self.y(value)
            parts.append(tag("line", class_="grid", x1=left, x2=right, y1=at, y2=at))
            label = f"{100 * value:g}%" if y_percent else _number(value)
            parts.append(text(label, left - 8, at + 4, class_="tick", text_anchor="end"))
        parts.append(tag("line", class_="axis", x1=left, x2=right, y1=bottom, y2=bottom))
        parts.append(text(x_title, (left + right) / 2, bottom + 40, class_="title", text_anchor="middle"))
        parts.append(text(y_title, left - 44, top - 14, class_="title"))
        return "".join(parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.6g}"


def marker(shape: str, x: float, y: float, **attributes: object) -> str:
    """A mark of one of the shapes of `SHAPES` around (x, y)."""
    if shape == "circle":
        return tag("circle", cx=x, cy=y, r=6.5, **attributes)
    path = "".join(
        f"{'L' if n else 'M'}{x + dx:.1f},{y + dy:.1f}" for n, (dx, dy) in enumerate(SHAPES[shape])
    )
    return tag("path", d=path + "Z", **attributes)


SHAPES: dict[str, tuple[tuple[float, float], ...]] = {
    "circle": (),
    "diamond": ((0, -8.5), (8.5, 0), (0, 8.5), (-8.5, 0)),
    "square": ((-6, -6), (6, -6), (6, 6), (-6, 6)),
    "triangle": ((0, -8), (8, 6.5), (-8, 6.5)),
}


def figure(content: str, width: int, height: int, label: str, *, class_: str = "chart") -> str:
    """A drawing that scales with the page and is described to those who do not see it."""
    return tag("svg", content, class_=class_, viewBox=f"0 0 {width} {height}", role="group", aria_label=label)
