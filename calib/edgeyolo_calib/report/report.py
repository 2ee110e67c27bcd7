"""The calibration report.

It shows the values of each tensor, what its integers keep of them, and those that lose most.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.evaluation.plots import save_figure
from edgeyolo.support.files import atomic_file
from edgeyolo_calib.quantize.qdq import Quantized
from edgeyolo_calib.quantize.record import describe
from edgeyolo_calib.quantize.rules import Rules
from edgeyolo_calib.ranges.histogram import Histogram
from edgeyolo_calib.ranges.statistics import Statistics
from edgeyolo_calib.report.page import to_html

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_BARS = 40
_INTEGER, _FLOAT = "#3b6fd8", "#12805c"


def write_chart(path: Path, found: dict[str, Any]) -> Path:
    """Draw `Findings.to_json()` as bars.

    It has a bar for each of the worst layers, as long as its output error.

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


_BARS = 96  # of a drawn histogram


def signal_to_noise(histogram: Histogram, rules: Rules, low: float, high: float) -> float:
    """Decibels between a tensor's values and what its integers change in them.

    Infinite where they change nothing.
    """
    centres, counts = histogram.centres()
    scale, zero = rules.grid.place(low, high)
    noise = float((counts * (rules.grid.round(centres, float(scale), zero) - centres) ** 2).sum())
    signal = float((counts * centres**2).sum())
    return 10 * math.log10(signal / noise) if signal and noise else math.inf


def describe_all(statistics: Statistics, rules: Rules, made: Quantized) -> dict[str, Any]:
    """The record of `describe` with the statistics of each tensor.

    Each has `seen` (least and greatest value), `bars` and `snr_db`, and `worst`: the names with the least of
    it, first.
    """
    record = describe(statistics, rules, made)
    for name, tensor in record["tensors"].items():
        histogram = statistics.tensors[name]
        decibels = signal_to_noise(histogram, rules, tensor["low"], tensor["high"])
        tensor["snr_db"] = round(decibels, 2) if math.isfinite(decibels) else None
        tensor["seen"] = [histogram.low, histogram.high]
        tensor["bars"] = bars(histogram).tolist()
    measured = {
        name: each["snr_db"] for name, each in record["tensors"].items() if each["snr_db"] is not None
    }
    return record | {"worst": sorted(measured, key=lambda name: measured[name])}


def bars(histogram: Histogram, count: int = _BARS) -> NDArray[np.int64]:
    """Number of values in each of `count` equal parts of the range.

    It is counted between the least and the greatest.
    """
    centres, counts = histogram.centres()
    if not len(centres):
        return np.zeros(count, np.int64)
    low, high = histogram.low, max(histogram.high, histogram.low + 1e-12)
    found, _ = np.histogram(centres, count, (low, high), weights=counts)
    return np.asarray(np.rint(found), dtype=np.int64)


def write_report(
    folder: Path, record: dict[str, Any], title: str, thumbnails: Mapping[str, str] = MappingProxyType({})
) -> list[Path]:
    """Write the files of a calibration report.

    They are `report.json`, `report.html` (one page that needs no network) and, where layers were measured,
    `sensitivity.png`.
    """
    data, page = folder / "report.json", folder / "report.html"
    with atomic_file(data) as draft:
        draft.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    with atomic_file(page) as draft:
        draft.write_text(to_html(record, title, thumbnails), encoding="utf-8")
    if "sensitivity" not in record:
        return [data, page]
    return [data, page, write_chart(folder / "sensitivity.png", record["sensitivity"])]
