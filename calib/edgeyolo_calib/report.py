"""The calibration report: what each tensor's values look like, what its integers keep of them, and which lose most."""

from __future__ import annotations

import html
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.files import atomic_file
from edgeyolo_calib.histogram import Histogram
from edgeyolo_calib.qdq import Quantized
from edgeyolo_calib.record import describe
from edgeyolo_calib.rules import Rules
from edgeyolo_calib.statistics import Statistics

_BARS, _WIDE, _HIGH = 96, 288, 40  # of a drawn histogram; pixels


def signal_to_noise(histogram: Histogram, rules: Rules, low: float, high: float) -> float:
    """Decibels between a tensor's values and what its integers change in them; infinite where they change nothing."""
    centres, counts = histogram.centres()
    scale, zero = rules.grid.place(low, high)
    noise = float((counts * (rules.grid.round(centres, float(scale), zero) - centres) ** 2).sum())
    signal = float((counts * centres**2).sum())
    return 10 * math.log10(signal / noise) if signal and noise else math.inf


def describe_all(statistics: Statistics, rules: Rules, made: Quantized) -> dict[str, Any]:
    """The record of `describe`, each tensor with `seen` (least and greatest value), `bars` and `snr_db`, and
    `worst`: the names with the least of it, first.
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
    """How many of the counted values lie in each of `count` equal parts between the least and the greatest."""
    centres, counts = histogram.centres()
    if not len(centres):
        return np.zeros(count, np.int64)
    low, high = histogram.low, max(histogram.high, histogram.low + 1e-12)
    found, _ = np.histogram(centres, count, (low, high), weights=counts)
    return np.asarray(np.rint(found), dtype=np.int64)


def write_report(folder: Path, record: dict[str, Any], title: str) -> tuple[Path, Path]:
    """Write `report.json` and `report.html`, one page that needs no network."""
    data, page = folder / "report.json", folder / "report.html"
    with atomic_file(data) as draft:
        draft.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    with atomic_file(page) as draft:
        draft.write_text(to_html(record, title), encoding="utf-8")
    return data, page


def to_html(record: dict[str, Any], title: str) -> str:
    """The page: how it was done, then every tensor, those that lose most first."""
    images, scheme = record["images"], record["scheme"]
    order = [*record["worst"], *(name for name in record["tensors"] if name not in set(record["worst"]))]
    facts = {
        "images": f"{images['count']}: {images['described']}",
        "content hash": images["sha256"],
        "rules": record["rules"],
        "ranges": scheme["method"] + (f" {scheme['percentile']}" if scheme["method"] == "percentile" else ""),
        "weights": f"{scheme['weights']}, a scale for each output channel",
        "tensors": f"{len(order)} quantized; in float: {', '.join(record['floats']) or 'none'}",
    }
    listed = "".join(f"<dt>{_text(k)}<dd>{_text(v)}" for k, v in facts.items())
    rows = "\n".join(_row(name, record["tensors"][name]) for name in order)
    return _PAGE.format(title=_text(title), facts=listed, rows=rows)


def _row(name: str, tensor: dict[str, Any]) -> str:
    decibels = "exact" if tensor["snr_db"] is None else f"{tensor['snr_db']:.1f}"
    cells = (
        _text(name), decibels, f"{tensor['seen'][0]:.3g} to {tensor['seen'][1]:.3g}",
        f"{tensor['low']:.3g} to {tensor['high']:.3g}", f"{tensor['scale']:.3g}", f"{tensor['cut']:.4%}",
        _drawing(tensor),
    )  # fmt: skip
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _drawing(tensor: dict[str, Any]) -> str:
    """The histogram (heights logarithmic, or outliers would not show), and where the range ends."""
    counts = np.log1p(np.array(tensor["bars"], dtype=np.float64))
    heights = counts / max(counts.max(), 1e-12) * _HIGH
    step, (low, high) = _WIDE / len(heights), tensor["seen"]
    path = "".join(f"M{i * step:.1f} {_HIGH}v{-height:.1f}" for i, height in enumerate(heights) if height)
    ends = ""
    for end in (tensor["low"], tensor["high"]):
        x = (end - low) / max(high - low, 1e-12) * _WIDE
        if 0 <= x <= _WIDE:
            ends += f'<path class="end" d="M{x:.1f} 0v{_HIGH}"/>'
    return f'<svg width="{_WIDE}" height="{_HIGH}"><path d="{path}"/>{ends}</svg>'


def _text(value: object) -> str:
    return html.escape(str(value))


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 14px system-ui, sans-serif }}
body {{ margin: 2rem }} dt {{ font-weight: 600 }} dd {{ margin: 0 0 .4rem; overflow-wrap: anywhere }}
table {{ border-collapse: collapse }}
td, th {{ padding: .2rem .8rem; text-align: left; border-bottom: 1px solid #8884 }}
svg path {{ stroke: #5b8def; stroke-width: 2.5 }} svg .end {{ stroke: #d9480f; stroke-width: 1.5 }}
</style>
<h1>{title}</h1>
<dl>{facts}</dl>
<p>Each tensor's values on the calibration images (heights are logarithmic) and the range its integers cover. Signal to
noise is of the tensor alone: what its integers change, against its values. Those that lose most come first.</p>
<table><thead><tr><th>tensor<th>signal to noise, dB<th>values<th>range<th>scale<th>cut<th>histogram</tr></thead>
<tbody>
{rows}
</tbody></table>
</html>
"""
