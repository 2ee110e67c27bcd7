"""The chart of layers as a PNG file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeyolo.evaluation.plots import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BARS = 40
_INTEGER, _FLOAT = "#3b6fd8", "#12805c"


def write_chart(path: Path, found: dict[str, Any]) -> Path:
    """Draw `Findings.to_json()`: a bar for each of the worst layers, as long as its output error.

    Raises RuntimeMissingError without matplotlib.
    """
    count = min(len(found["layers"]), _BARS)
    save_figure(path, (9.0, 1.2 + 0.22 * count), lambda axes: _draw(axes, found))
    return path


def _draw(axes: Axes, found: dict[str, Any]) -> None:
    shown = found["layers"][:_BARS]
    floats = set(found["budget"]["floats"]) if found["budget"] else set()
    places = range(len(shown))
    colors = [_FLOAT if each["name"] in floats else _INTEGER for each in shown]
    axes.barh(places, [each["error"] for each in shown], color=colors)
    axes.set_yticks(places, [_short(each["place"]) for each in shown], fontsize=7)
    axes.invert_yaxis()
    for place, each in zip(places, shown, strict=True):
        if each["lost"]:
            text = f" {each['lost']['points']:+.2f} AP points lost"
            axes.text(each["error"], place, text, va="center", fontsize=7)
    axes.set_xlabel(
        f"output error with only this layer in integers (all: {found['whole']['error']:.4f})"
        + ("; green: stays in float" if floats else "")
    )
    axes.margins(x=0.25, y=0.01)


def _short(name: str, most: int = 48) -> str:
    return name if len(name) <= most else "..." + name[-most:]
