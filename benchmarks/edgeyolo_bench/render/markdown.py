"""The report as Markdown.

Results, the roofline, and the paper's tables that it measured rows of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from edgeyolo.support.printable import printable_line
from edgeyolo_bench.paper.beside_paper import is_in
from edgeyolo_bench.paper.paper_tables import NUMBERS, PROTOCOLS
from edgeyolo_bench.render import table
from edgeyolo_bench.render.headline import headline
from edgeyolo_bench.render.result_table import Table, beside_paper, placements
from edgeyolo_bench.values.report import Report


def to_markdown(report: Report, *, level: int = 1) -> str:
    """The whole report; `level` is that of its title's heading."""
    return "\n".join(_lines(report, "#" * level)) + "\n"


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; bars within cells are escaped."""
    marks = ["---"] * len(columns)
    return [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (columns, marks, *rows)
    ]


def _lines(report: Report, mark: str) -> Iterator[str]:
    for device in report.devices:
        cpu = device.cpu
        yield f"{mark} {_plain(device.name)}"
        yield ""
        runtimes = ", ".join(f"{name} {version}" for name, version in device.runtimes.items())
        yield _plain(f"{cpu.model}, {cpu.available:g} of {cpu.cores} cores, {device.system}; {runtimes}.")
        command = printable_line(report.command or "edgeyolo bench").replace("`", "'")
        yield f"edgeyolo {_plain(report.edgeyolo)}, {_plain(report.created)}: `{command}`"
        yield ""
    yield _plain(headline(report))
    yield ""
    yield from _table(Table(table.columns(report), (), ()), table.rows(report), tuple(table.notes(report)))
    for limits in report.limits:
        found = placements(limits)
        yield from ("", f"{mark}# Roofline", "")
        yield from _table(found, found.texts(), found.notes)
    for number in NUMBERS:
        if is_in(report, number):
            networks = tuple(dict.fromkeys(item.artifact.model for item in report.measurements))
            beside = beside_paper(report, number, networks)
            yield from ("", f"{mark}# The paper's Table {number}: {PROTOCOLS[number].title}", "")
            yield from _table(beside, beside.texts(), (*PROTOCOLS[number].facts, *beside.notes))


def _table(found: Table, rows: Sequence[Sequence[str]], notes: Sequence[str]) -> Iterator[str]:
    yield from table_lines(found.columns, [[_plain(cell) for cell in row] for row in rows])
    yield ""
    yield from (f"- {_plain(note)}" for note in notes)


def _plain(text: str) -> str:
    """Text that Markdown, and the HTML in it, show as it is.

    Names of models, classes and devices are anyone's.
    """
    shown = escape(printable_line(text), quote=False)
    return re.sub(r"([`\[*])", r"\\\1", shown)
