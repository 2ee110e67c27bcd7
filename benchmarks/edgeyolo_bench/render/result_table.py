"""Table of a report's measurements.

It is made once for the terminal, Markdown and the page: texts, and values to sort by.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgeyolo_bench.limits.roofline import Limits, Placement
from edgeyolo_bench.paper.beside_paper import Figure, Line, compare
from edgeyolo_bench.paper.paper_tables import Improvement
from edgeyolo_bench.render import table
from edgeyolo_bench.values.report import Report

DASH = "–"
_NUMBER = re.compile(r"\d+(\.\d+)?(?= |$|x\d)")


@dataclass(frozen=True)
class Cell:
    """A cell's text and its sort key.

    Rows are sorted by the key (None: always last); `note` is said where there is room.
    """

    text: str
    value: float | str | None
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells under `columns`; `notes` stand below it."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The rows as texts alone."""
        return tuple(tuple(cell.text for cell in row) for row in self.rows)


def results(report: Report) -> Table:
    """One row for every measurement.

    It is as the terminal has it but for the stages, which the page draws.
    """
    columns = table.columns(report)
    kept = [place for place, name in enumerate(columns) if " + " not in name]
    rows = tuple(tuple(_read(row[place]) for place in kept) for row in table.rows(report))
    return Table(tuple(columns[place] for place in kept), rows)


def _read(text: str) -> Cell:
    """A cell of text, sorted by the number it begins with if its column holds numbers."""
    leading = _NUMBER.match(text)
    if leading:
        return Cell(text, float(leading[0]))
    return Cell(text, None if text in ("-", table.NOT_REPORTABLE) else text.lower())


def beside_paper(report: Report, number_of_table: int, networks: tuple[str, ...] = ()) -> Table:
    """One of the paper's tables, ours beside theirs.

    The notes number why rows may not be comparable.
    """
    lines = compare(report, number_of_table, networks)
    columns = _columns(number_of_table)
    told: dict[str, int] = {}
    rows = []
    for line in lines:
        for reason in line.reasons:
            told.setdefault(reason, len(told) + 1)
        numbers = [told[reason] for reason in line.reasons]
        rows.append(_paper_row(line, columns, numbers))
    return Table(columns, tuple(rows), tuple(f"{n}. {reason}" for reason, n in told.items()))


def _columns(number_of_table: int) -> tuple[str, ...]:
    tail = ("AP val", "paper", "difference", "notes")
    if number_of_table == 10:
        return ("network", "target", "precision", "IoU", *tail)
    speed = "ms" if number_of_table == 1 else "FPS"
    return ("network", "target", "size", "params", "paper", "GFLOPs", "paper", speed, "paper", "ratio", *tail)


def _paper_row(line: Line, columns: Sequence[str], numbers: Sequence[int]) -> tuple[Cell, ...]:
    if isinstance(line.row, Improvement):
        return _improvement(line.row, columns)
    target = line.measurement.artifact.target if line.measurement else ""
    head = (_word(line.row.model), _word(target))
    notes = Cell(", ".join(map(str, numbers)), numbers[0] if numbers else None)
    ap = line.figure("ap")
    accuracy = (number(ap.ours, 1, "%", 100), number(ap.paper, 1, "%", 100), _points(ap))
    row = line.row
    if row.table == 10:
        return (*head, _word(row.precision or ""), number(row.iou, 2), *accuracy, notes)
    speed = line.figure("ms" if row.table == 1 else "fps")
    return (
        *head, number(row.imgsz, 0), *_pair(line.figure("params"), 1, " M"),
        *_pair(line.figure("gflops"), 1), *_speeds(speed), _ratio(speed, notes), *accuracy, notes,
    )  # fmt: skip


def _improvement(row: Improvement, columns: Sequence[str]) -> tuple[Cell, ...]:
    """The paper's words stand in its own columns, which follow ours."""
    cells = [Cell("improvement", None), *(Cell("", None) for _ in columns[1:])]
    for column, text in {"params": row.params, "GFLOPs": row.gflops, "AP val": row.ap_val}.items():
        if column in columns:
            cells[columns.index(column) + 1] = Cell(text, None)
    return tuple(cells)


def number(value: float | None, digits: int, unit: str = "", scale: float = 1) -> Cell:
    """A number with `digits` decimals, a dash where there is none."""
    return Cell(DASH, None) if value is None else Cell(f"{value * scale:.{digits}f}{unit}", value)


def _word(text: str) -> Cell:
    return Cell(text, text.lower() or None)


def _pair(figure: Figure, digits: int, unit: str = "") -> tuple[Cell, Cell]:
    return number(figure.ours, digits, unit), number(figure.paper, digits, unit)


def _speeds(figure: Figure) -> tuple[Cell, Cell]:
    """Ours to three digits, the paper's as it is printed."""
    ours = Cell(DASH, None) if figure.ours is None else Cell(table.digits(figure.ours), figure.ours)
    return ours, Cell(DASH, None) if figure.paper is None else Cell(f"{figure.paper:g}", figure.paper)


def _ratio(figure: Figure, notes: Cell) -> Cell:
    """The ratio of speeds, with the notes that belong to it.

    Their numbers stand in the same cell.
    """
    ratio = number(figure.ratio, 3)
    return Cell(f"{ratio.text} (notes {notes.text})", ratio.value) if figure.ratio and notes.text else ratio


def _points(figure: Figure) -> Cell:
    difference = figure.difference
    return Cell(DASH, None) if difference is None else Cell(f"{100 * difference:+.1f}", difference)


_VERDICTS = {
    "possible": "",
    "above-peak": "above the measured peak: Winograd, or a peak measured on a busy machine",
    "impossible": "impossible: a bug of the measurement",
}


def placements(limits: Limits) -> Table:
    """Table of the placements under a device's limits."""
    columns = ("measurement", "in", "op/byte", "Gop/s", "attainable", "limit", "measured", "share", "verdict")
    rows = tuple(
        (
            _word(placed_label(item)), _word(item.arithmetic), number(item.intensity, 1), number(item.reached, 1),
            number(item.attainable, 1), number(item.limit_ms, 2, " ms"), number(item.latency_ms, 2, " ms"),
            number(item.share, 0, "%", 100), Cell(item.verdict, item.verdict, verdict_words(item)),
        )
        for item in limits.placements
    )  # fmt: skip
    peaks = limits.peaks
    where = "of the GPU" if limits.kind == "cuda" else f"with {peaks.threads} threads"
    measured = [f"{name} {found[0].gops:.0f} Gop/s by {found[0].by}" for name, found in peaks.gemm.items()]
    measured += [f"{name} {rate:.1f} GB/s" for name, rate in peaks.bandwidth.items()]
    notes = (
        f"Measured limits {where}: {', '.join(measured)}.",
        "limit: the sum over layers of what each needs at least; share: how much of the measured time that explains.",
        "Every layer's weights and maps count as read from and written to memory. Maps that stay in caches let a "
        "runtime do better, and the share may pass 100%; what passes the arithmetic's peak is flagged.",
    )
    return Table(columns, rows, notes)


def placed_label(item: Placement) -> str:
    """The measurement's label, with its batch where that is not one image."""
    return item.label if item.batch == 1 else f"{item.label}, batch {item.batch}"


def verdict_words(item: Placement) -> str:
    """Meaning of a verdict; "" for a possible one."""
    return _VERDICTS[item.verdict]
