"""The whole page: which sections there are, in which order."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files
from pathlib import Path

from edgeyolo.support.files import atomic_file
from edgeyolo.support.svg import tag
from edgeyolo_bench.paper.beside_paper import is_in
from edgeyolo_bench.paper.paper_tables import NUMBERS, PROTOCOLS
from edgeyolo_bench.render.page.facts import device_facts, how_measured, layer_tables, warnings
from edgeyolo_bench.render.page.panels import distributions, stage_split
from edgeyolo_bench.render.page.roofline_chart import roofline_chart
from edgeyolo_bench.render.page.scatter import legend, scatter
from edgeyolo_bench.render.page.tables import change_table, comparison_table, sortable
from edgeyolo_bench.render.points import measured_points, paper_points
from edgeyolo_bench.render.result_table import beside_paper, placements, results
from edgeyolo_bench.values.report import Report

# Nothing may be loaded, not even by mistake: styles and the script stand in the page.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def write_page(report: Report, path: str | Path) -> None:
    """Write the page of a report, whole or not at all."""
    with atomic_file(path) as draft:
        draft.write_text(render(report), encoding="utf-8")


def render(report: Report) -> str:
    """The page as HTML."""
    devices = ", ".join(device.name for device in report.devices)
    title = f"edgeyolo bench: {devices}"
    body = _header(report) + tag("main", "".join(_sections(report)))
    tooltip = '<div id="tooltip" role="status" hidden></div>'
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_resource('style.css')}</style>\n</head>\n"
        f"<body>\n{body}\n{tooltip}\n<script>\n{_resource('script.js')}</script>\n</body>\n</html>\n"
    )


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _header(report: Report) -> str:
    cpus = " · ".join(dict.fromkeys(escape(device.cpu.model) for device in report.devices))
    devices = ", ".join(escape(device.name) for device in report.devices)
    when = escape(report.created.replace("T", " ")[:16])
    button = '<button id="scheme" type="button" aria-label="Switch between light and dark">◐</button>'
    command = tag("p", tag("code", escape(report.command)), class_="command") if report.command else ""
    return tag(
        "header",
        f'<div><p class="kicker">edgeyolo bench {escape(report.edgeyolo)}</p><h1>{devices}</h1>'
        f'<p class="muted">{cpus} · measured {when} UTC</p>{command}</div>{button}',
    )


def _sections(report: Report) -> Iterator[str]:
    yield warnings(report)
    yield _section("Accuracy and latency", _figure_one(report), id="figure-1")
    yield _section("Results", sortable(results(report), "results"), id="results")
    for number in NUMBERS:
        if is_in(report, number):
            networks = tuple({item.artifact.model for item in report.measurements})
            yield _paper_section(report, number, networks)
    yield _section("Latency of each query", distributions(report.measurements), id="distributions")
    yield _section("Where the time goes", stage_split(report.measurements), id="stages")
    for number, limits in enumerate(report.limits, start=1):
        drawing = roofline_chart(limits)
        table = sortable(placements(limits), f"roofline-{number}") if drawing else ""
        content = drawing + table + layer_tables(limits, f"layers-{number}")
        yield _section(
            f"Roofline: {limits.device}{', GPU' if limits.kind == 'cuda' else ''}",
            content,
            id=f"roofline-{number}",
        )
    yield _section("Compared in turns", comparison_table(report), id="comparisons")
    yield _section("Against the baseline", change_table(report), id="changes")
    yield _section("The machine", device_facts(report), id="machine")
    yield _section("How it was measured", how_measured(report), id="how")


def _section(title: str, content: str, **attributes: object) -> str:
    return tag("section", tag("h2", escape(title)) + content, **attributes) if content else ""


def _figure_one(report: Report) -> str:
    points = measured_points(report)
    if not points:
        return ""
    box = '<input type="checkbox" id="with-paper">'
    switch = f'<label class="switch">{box} with the paper\'s Table 2 (V100, FP16)</label>'
    own, both = scatter(points), scatter(points, paper_points())
    return (
        tag("div", legend(points) + switch, class_="above")
        + tag("div", own, id="own")
        + tag("div", both, id="both", hidden="hidden")
    )


def _paper_section(report: Report, number: int, networks: tuple[str, ...]) -> str:
    protocol = PROTOCOLS[number]
    facts = tag("ul", "".join(tag("li", escape(fact)) for fact in protocol.facts), class_="facts")
    own = sortable(beside_paper(report, number, networks), f"table-{number}")
    every = sortable(beside_paper(report, number), f"table-{number}-all", notes=False)
    whole = tag("details", tag("summary", f"All rows of Table {number}") + every)
    return _section(
        f"The paper's Table {number}: {protocol.title}", facts + own + whole, id=f"paper-{number}"
    )
