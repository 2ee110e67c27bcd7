"""The calibration report as one HTML page that needs no network.

Drawings are SVG, pictures are in the page.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from edgeyolo.support.svg import Scale, tag
from edgeyolo_calib.quantize.schemes import CLEARLY

_WIDE, _HIGH = 288, 40  # of a drawn histogram, pixels
_LAYERS = 40  # bars in the chart of layers


def to_html(record: dict[str, Any], title: str, thumbnails: Mapping[str, str] = MappingProxyType({})) -> str:
    """The page of a calibration report.

    It shows the method, the costs of layers where they were measured, every tensor, and the images.

    `thumbnails`: data URIs of pictures, by name.
    """
    order = [*record["worst"], *(name for name in record["tensors"] if name not in set(record["worst"]))]
    rows = "\n".join(_row(name, record["tensors"][name]) for name in order)
    parts = {
        "title": _text(title),
        "facts": "".join(
            f"<div><dt>{_text(k)}<dd>{_text(v)}</div>" for k, v in _facts(record, len(order)).items()
        ),
        "layers": _layers(record["sensitivity"]) if "sensitivity" in record else "",
        "rows": rows,
        "images": _images(record["images"], thumbnails),
    }
    return _PAGE.format(**parts)


def _facts(record: dict[str, Any], tensors: int) -> dict[str, object]:
    images, scheme = record["images"], record["scheme"]
    broken = images.get("broken", {})
    tried = ", ".join(f"{name} {error:.4f}" for name, error in record.get("tried", {}).items())
    return {
        "images": f"{images['count']}: {images['described']}" + (f"; {len(broken)} broken" if broken else ""),
        "content hash": images["sha256"],
        "placement": f"{record['rules']} rules" + (f", for {record['target']}" if "target" in record else ""),
        "ranges": scheme["method"]
        + (f" {scheme['percentile']}" if scheme["method"] == "percentile" else "")
        + (
            f" (output errors: {tried}; of those within {100 * (CLEARLY - 1):.0f} % of the least, the one that cuts "
            "least)"
            if tried
            else ""
        ),
        "weights": "a scale for each output channel, errors cancel",
        "tensors": f"{tensors} quantized",
        "layers in float": ", ".join(record["floats"]) or "none",
    }


def _row(name: str, tensor: dict[str, Any]) -> str:
    decibels = "exact" if tensor["snr_db"] is None else f"{tensor['snr_db']:.1f}"
    cells = (
        decibels, f"{tensor['seen'][0]:.3g} to {tensor['seen'][1]:.3g}",
        f"{tensor['low']:.3g} to {tensor['high']:.3g}", f"{tensor['scale']:.3g}", f"{tensor['cut']:.4%}",
    )  # fmt: skip
    numbers = "".join(tag("td", cell, class_="n") for cell in cells)
    return tag("tr", tag("td", _text(name), class_="name") + numbers + tag("td", _histogram(tensor)))


def _histogram(tensor: dict[str, Any]) -> str:
    """Plot a distribution and the end of its range.

    Heights are logarithmic, or outliers would not show.
    """
    counts = np.log1p(np.array(tensor["bars"], dtype=np.float64))
    up = Scale(0.0, max(counts.max(), 1e-12), 0.0, -_HIGH)
    along = Scale(0.0, len(counts), 0.0, _WIDE)
    path = "".join(f"M{along(i):.1f} {_HIGH}v{up(count):.1f}" for i, count in enumerate(counts) if count)
    low, high = tensor["seen"]
    values = Scale(low, max(high, low + 1e-12), 0.0, _WIDE)
    ends = [x for end in (tensor["low"], tensor["high"]) if 0 <= (x := values(end)) <= _WIDE]
    lines = "".join(tag("path", class_="end", d=f"M{x:.1f} 0v{_HIGH}") for x in ends)
    return tag("svg", tag("path", d=path) + lines, width=_WIDE, height=_HIGH)


def _layers(found: dict[str, Any]) -> str:
    """The chart of layers, and how a budget was kept."""
    floats = set(found["budget"]["floats"]) if found["budget"] else set()
    shown = found["layers"][:_LAYERS]
    widest = max((each["error"] for each in shown), default=0.0) or 1.0
    bars = "".join(
        tag(
            "div",
            tag("span", _text(each["place"]), title=each["name"])
            + tag("i", style=f"width:{100 * each['error'] / widest:.1f}%")
            + tag("b", f"{each['error']:.4f}")
            + tag("em", _points(each["lost"])),
            class_="bar float" if each["name"] in floats else "bar",
        )
        for each in shown
    )
    whole, more = found["whole"], len(found["layers"]) - len(shown)
    judged = (
        f"AP in float on {_text(found['data'])}: {100 * found['reference']:.2f}; with all layers in integers "
        f"{_points(whole['lost'])}. Of single layers AP is measured for the worst only."
        if found["data"]
        else "AP was not measured: no labelled images were given (--data)."
    )
    left = f"<p>{more} more layers, each with less, stand in report.json.</p>" if more > 0 else ""
    return (
        f"<h2>Layers</h2><p>Output error of the raw maps (the root of the squared difference over the squared float "
        f"maps, on {found['images']} calibration images) where only that layer is in integers; with all of them it is "
        f"{whole['error']:.4f}. {judged}</p>"
        f'<div class="chart">{bars}</div>{left}{_budget(found["budget"])}'
    )


def _budget(budget: dict[str, Any] | None) -> str:
    if budget is None:
        return ""
    rows = f'<tr><td class="n">0<td>all in integers<td><td class="n">{_points(budget["start"])}</tr>'
    for number, step in enumerate(budget["steps"], start=1):
        rows += (
            f'<tr><td class="n">{number}<td class="name">{_text(step["place"])}<td class="n">{step["error"]:.4f}'
            f'<td class="n">{_points(step["lost"])}</tr>'
        )
    verdict = "kept" if budget["reached"] else "not kept"
    return (
        f"<h2>AP budget of {budget['points']:g} points: {verdict}</h2><p>Layers were put into float one after another, "
        "each time the one, of the worst alone, that leaves the least output error, and stayed there; AP after each "
        "step decided when to stop. The layers are chosen by the same labelled images that AP is measured on here: on "
        f"others expect a little more to be lost. It ended with {_text(budget['reason'])}.</p><table><thead><tr>"
        f"<th>in float<th>layer added<th>output error<th>AP points lost</tr></thead><tbody>{rows}</tbody></table>"
    )


def _points(lost: dict[str, float] | None) -> str:
    if lost is None:
        return ""
    return f"{lost['points']:+.2f} AP points lost ({lost['confidence']:.0%}: {lost['low']:.2f} to {lost['high']:.2f})"


def _images(images: dict[str, Any], thumbnails: Mapping[str, str]) -> str:
    names, broken = images.get("names", []), images.get("broken", {})
    if not names:
        return ""
    pictures = "".join(
        f'<figure><img alt="" src="{uri}"><figcaption>{_text(name)}</figcaption></figure>'
        for name, uri in thumbnails.items()
    )
    listed = ", ".join(_text(name) for name in names if name not in broken)
    wrong = "".join(f"<li>{_text(name)}: {_text(reason)}" for name, reason in broken.items())
    left_out = f"<p>Left out, because they cannot be read:</p><ul>{wrong}</ul>" if wrong else ""
    return (
        f'<h2>Images</h2><div class="pictures">{pictures}</div>'
        f"<details><summary>all {len(names)} names</summary><p>{listed}</p></details>{left_out}"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --paper: #fff; --ink: #1d2330; --soft: #667085; --line: #e3e7ee;
  --bar: #3b6fd8; --end: #d9480f; --float: #12805c;
  font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper) }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper: #14171d; --ink: #e6e9ef; --soft: #98a1b3; --line: #2b313c;
  --bar: #7ea6f4; --end: #ff9a5a; --float: #55c79d }} }}
body {{ margin: 2rem auto; max-width: 75rem; padding: 0 1.5rem }}
h1 {{ font-size: 1.6rem }} h2 {{ font-size: 1.15rem; margin: 2.2rem 0 .4rem }} p {{ max-width: 60rem }}
dl {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: .8rem 2rem }}
dt, th, em, figcaption, summary {{ color: var(--soft); font-weight: 500; font-size: .85rem; font-style: normal }}
dd {{ margin: 0; overflow-wrap: anywhere }}
.scroll {{ overflow-x: auto }} table {{ border-collapse: collapse; width: 100% }}
td, th {{ padding: .3rem .8rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line) }}
.n {{ font-variant-numeric: tabular-nums; white-space: nowrap }} .name {{ overflow-wrap: anywhere; min-width: 9rem }}
svg {{ display: block }} svg path {{ stroke: var(--bar); stroke-width: 2.5 }}
svg .end {{ stroke: var(--end); stroke-width: 1.5 }}
.bar {{ display: grid; grid-template-columns: minmax(8rem, 22rem) 1fr 4.5rem 19rem; gap: .8rem; align-items: center;
  padding: .12rem 0 }}
.bar span {{ overflow: hidden; text-overflow: ellipsis; white-space: nowrap }}
.bar i {{ display: block; height: .8rem; background: var(--bar); border-radius: 2px; min-width: 1px }}
.bar b {{ font-weight: 500; font-variant-numeric: tabular-nums }}
.float i {{ background: var(--float) }} .float span::after {{ content: " (in float)"; color: var(--float) }}
.pictures {{ display: grid; gap: .6rem; margin: .6rem 0;
  grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)) }}
figure {{ margin: 0 }} img {{ width: 100%; aspect-ratio: 4/3; object-fit: cover; border-radius: 4px }}
figcaption {{ overflow: hidden; text-overflow: ellipsis; white-space: nowrap }}
</style>
<h1>{title}</h1>
<dl>{facts}</dl>
{layers}
<h2>Tensors</h2>
<p>Each tensor's values on the calibration images (heights are logarithmic) and the range its integers cover, between
the two lines. Signal to noise is of the tensor alone: what its integers change, against its values. Cut is the share of
values outside the range. Those that lose most come first.</p>
<div class="scroll"><table><thead><tr><th>tensor<th>signal to noise, dB<th>values<th>range<th>scale<th>cut<th>histogram
</tr></thead><tbody>
{rows}
</tbody></table></div>
{images}
</html>
"""
