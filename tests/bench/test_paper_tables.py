"""The paper's tables as data, against what is printed and against the core's own figures."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from edgeyolo.errors import UsageError
from edgeyolo.models import specs
from edgeyolo.models.paper import BASELINE_ROWS, ROWS
from edgeyolo_bench.paper.paper_tables import NUMBERS, PROTOCOLS, Improvement, PaperRow, read_rows, table

MISPRINTS = {"79.8G": "79.8M", "YOLO-E6 [81]": "YOLOR-E6 [81]"}


def printed(shared: Path) -> list[list[str]]:
    """Rows of the four tables as the paper prints them, without the heads; misprints put right."""
    with (shared / "spec" / "paper_tables.csv").open(newline="") as file:
        rows = [row for row in csv.reader(file) if int(row[0]) in NUMBERS and row[1] != "Model"]
    return [[MISPRINTS.get(cell, cell) for cell in row] for row in rows]


def number(text: str) -> float | None:
    digits = re.match(r"-?\d+(\.\d+)?", text)
    return float(digits[0]) if digits else None


def percent(text: str) -> float | None:
    value = number(text.strip())
    return None if value is None else round(value / 100, 4)


def test_every_printed_row_is_there_and_no_other(shared: Path) -> None:
    rows = printed(shared)
    assert len(rows) == len(read_rows()) == 105
    for cells, row in zip(rows, read_rows(), strict=True):
        assert int(cells[0]) == row.table
        if isinstance(row, Improvement):
            assert cells[1] == "improvement"
            continue
        assert cells[1] == row.model + (f" [{row.cites}]" if row.cites else "")


def test_every_printed_number_is_copied_right(shared: Path) -> None:
    gpus = ["V100"] * 40 + ["A100"] * 7  # Table 9 prints its head twice, once for each
    nine = iter(gpus)
    for cells, row in zip(printed(shared), read_rows(), strict=True):
        if isinstance(row, Improvement):
            where = 5 if row.table == 1 else 4
            assert row.ap_val == cells[where]
            continue
        if row.table == 10:
            assert (row.precision, row.iou) == (cells[2].split()[0], number(cells[3]))
            assert row.ap_val == percent(cells[4])
            continue
        assert (row.params, row.gflops, row.imgsz) == tuple(number(cell) for cell in cells[2:5])
        if row.table == 1:
            values = (row.ap_val, row.ap50, row.ap75, row.ap_small, row.ap_medium, row.ap_large)
            assert values == tuple(percent(cell) for cell in cells[5:])
            continue
        assert row.fps == number(cells[5])
        assert [row.ap_test, row.ap_val] == [percent(half) for half in cells[6].split("/")]
        parts = (row.ap50, row.ap75, row.ap_small, row.ap_medium, row.ap_large)
        assert parts[: len(cells) - 7] == tuple(percent(cell) for cell in cells[7:])
        assert row.gpu == (next(nine) if row.table == 9 else "V100")


def test_our_networks_are_found_in_every_table() -> None:
    seven, larger = set(specs.names()), {"yolor-csp", "yolor-csp-x", "yolor-e6", "yolor-d6"}
    first = {row.network for row in table(1) if isinstance(row, PaperRow)} - {None}
    assert first == (seven - {"yolov7-tiny-silu", "yolov7-w6"}) | larger | {"yolov4-csp", "yolov4-tiny"}
    for which in (2, 9):
        rows = [row for row in table(which) if isinstance(row, PaperRow) and row.network]
        assert {row.network for row in rows} == (seven - {"yolov7-tiny"}) | larger | {"yolor-p6", "yolor-w6"}
    assert {row.network for row in table(10) if isinstance(row, PaperRow)} == {"yolov7x"}


def test_the_cores_figures_are_the_same() -> None:
    for figures in (*ROWS, *BASELINE_ROWS):
        if figures.name == "yolov4-tiny-3l":  # the paper's is another network than the one built here
            continue
        rows = [
            row
            for row in read_rows()
            if isinstance(row, PaperRow) and (row.network, row.imgsz) == (figures.name, figures.imgsz)
        ]
        assert rows
        for row in rows:
            assert row.ap_val == figures.ap or row.table == 10
            assert row.params in (figures.params, None)
            assert row.gflops in (figures.gflops, None)
            if row.table in (2, 9):
                assert (row.fps, row.ap_test) == (figures.fps, figures.ap_test)
            if row.table == 1:
                assert figures.ap50 in (row.ap50, None)


def test_derived_figures() -> None:
    (row,) = (row for row in table(2, ("yolov7",)) if isinstance(row, PaperRow))
    assert row.latency_ms == pytest.approx(1000 / 161)
    assert [row.batch32_ms for row in table(1, ("yolov7-tiny",)) if isinstance(row, PaperRow)] == [0.4, None]
    assert set(PROTOCOLS) == set(NUMBERS)


def test_another_table_is_refused() -> None:
    with pytest.raises(UsageError, match="expected one of 1, 2, 9, 10") as caught:
        table(3)
    assert "ablate" in caught.value.hint
