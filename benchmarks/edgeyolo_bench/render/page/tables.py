"""Tables that can be sorted: plain HTML, which the script gives its buttons."""

from __future__ import annotations

from html import escape

from edgeyolo.support.svg import tag
from edgeyolo_bench.render.result_table import DASH, Cell, Table, number
from edgeyolo_bench.render.table import NOT_REPORTABLE
from edgeyolo_bench.values.report import Report


def sortable(table: Table, name: str, *, notes: bool = True) -> str:
    """A table whose columns sort; numbers stand right."""
    right = [_is_numeric(table, column) for column in range(len(table.columns))]
    head = "".join(
        tag("th", escape(title), scope="col", class_="number" if aligned else None)
        for title, aligned in zip(table.columns, right, strict=True)
    )
    body = "".join(
        tag("tr", "".join(_cell(cell, aligned) for cell, aligned in zip(row, right, strict=True)))
        for row in table.rows
    )
    whole = tag(
        "table", tag("thead", tag("tr", head)) + tag("tbody", body), class_="sortable", id=f"t-{name}"
    )
    said = "".join(tag("li", escape(note)) for note in table.notes) if notes else ""
    # It may be wider than the window: reachable by keyboard, it can be scrolled without a mouse.
    region = tag("div", whole, class_="wide", tabindex=0, role="region", aria_label=f"table {name}")
    return region + (tag("ul", said, class_="notes") if said else "")


def _is_numeric(table: Table, column: int) -> bool:
    cells = [row[column] for row in table.rows]
    words = any(isinstance(cell.value, str) for cell in cells)
    return not words and any(
        cell.value is not None or cell.text in (DASH, "-", NOT_REPORTABLE) for cell in cells
    )


def _cell(cell: Cell, aligned: bool) -> str:
    value = None if cell.value is None else f"{cell.value:.10g}" if aligned else str(cell.value)
    title = cell.note or None
    return tag("td", escape(cell.text), class_="number" if aligned else None, data_v=value, title=title)


def comparison_table(report: Report) -> str:
    """Artifacts measured in turns: the ratio of their latencies."""
    if not report.comparisons:
        return ""
    rows = []
    for item in report.comparisons:
        interval = (
            f" [{item.low:.3f}, {item.high:.3f}]" if item.low is not None and item.high is not None else ""
        )
        ratio = Cell(f"{item.ratio:.3f}{interval}", item.ratio, f"{item.confidence:.0%} interval")
        words = (item.first, item.second, item.stage)
        rows.append((*(Cell(word, word.lower()) for word in words), ratio, number(item.pairs, 0)))
    columns = ("first", "second", "stage", "second / first", "pairs")
    notes = (
        "Below 1 the second is faster. Measured one after the other in turns, so that both saw the same machine.",
    )
    return sortable(Table(columns, tuple(rows), notes), "comparisons")


def change_table(report: Report) -> str:
    """Table of the changes against a baseline report."""
    if not report.changes:
        return ""
    rows = tuple(
        (
            Cell(item.what, item.what.lower()), Cell(item.figure, item.figure), number(item.before, 3),
            number(item.now, 3), number(item.ratio, 3), number(item.tolerance, 0, "%", 100),
            Cell("worse" if item.worse else "within", int(item.worse), "" if item.certain else "intervals overlap"),
        )
        for item in report.changes
    )  # fmt: skip
    columns = ("what", "figure", "before", "now", "ratio", "allowed", "verdict")
    return sortable(Table(columns, rows), "changes")
