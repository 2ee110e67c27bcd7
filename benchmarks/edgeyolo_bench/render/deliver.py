"""Delivery of a report.

It is compared with a baseline, saved, printed, and turned into an exit code.
"""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from edgeyolo.cli.console import note, print_json, print_table, say
from edgeyolo.cli.result_files import next_run
from edgeyolo.errors import INTERRUPTED, GateError
from edgeyolo.support.files import atomic_file
from edgeyolo_bench.measure.physics import impossible
from edgeyolo_bench.paper.paper_options import Asked
from edgeyolo_bench.paper.paper_tables import PROTOCOLS
from edgeyolo_bench.render.baseline import compare
from edgeyolo_bench.render.headline import headline, to_csv
from edgeyolo_bench.render.markdown import to_markdown
from edgeyolo_bench.render.page import write_page
from edgeyolo_bench.render.plots import write_plots
from edgeyolo_bench.render.result_table import beside_paper
from edgeyolo_bench.render.table import notes, tables
from edgeyolo_bench.values.report import Report


def write_report(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write every form of a report into a folder and return the files.

    report.json, which the others follow from, first.
    """
    report.save(folder / "report.json")
    with atomic_file(folder / "report.md") as draft:
        draft.write_text(to_markdown(report), encoding="utf-8")
    write_page(report, folder / "report.html")
    write_csv(report, folder / "report.csv")
    plots = write_plots(report, folder) if find_spec("matplotlib") else ()
    forms = (folder / f"report.{form}" for form in ("json", "md", "html", "csv"))
    return (*forms, *plots)


def write_csv(report: Report, path: Path) -> None:
    """Write the figures as CSV, whole or not at all."""
    with atomic_file(path) as draft:
        draft.write_text(to_csv(report), encoding="utf-8")


def deliver(
    report: Report, earlier: Report | None, tolerance: float, output: Path | None, *, as_json: bool,
    asked: Asked | None = None, table: Path | None = None,
) -> None:  # fmt: skip
    """Save and print a report, then end the command with its exit code.

    With `as_json` the report is the one document on standard output, and is saved only where `output` is given. The
    paper's tables that were `asked` for are printed below it. `table` is a CSV file of its own.
    """
    if earlier is not None:
        report = compare(report, earlier, tolerance)
    folder = output or (None if as_json else next_run("bench"))
    if folder is not None:
        written = write_report(report, folder)
    if table is not None:
        write_csv(report, table)
    if as_json:
        print_json(report.to_json())
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for heads, lines in tables(report, width):
            print_table(heads, lines)
        say(headline(report))
        for line in notes(report):
            note(line)
        _print_tables(report, asked)
        note(f"written to {folder}: {', '.join(file.name for file in written)}")
    if code := exit_code(report):
        click.get_current_context().exit(code)


def _print_tables(report: Report, asked: Asked | None) -> None:
    for number in asked.numbers if asked else ():
        found = beside_paper(report, number, asked.networks if asked else ())
        say(f"\nThe paper's Table {number}: {PROTOCOLS[number].title}")
        print_table(found.columns, found.texts())
        for line in (*PROTOCOLS[number].facts, *found.notes):
            note(line)


def exit_code(report: Report) -> int:
    """Exit code of a report.

    It is 130 for one that was interrupted, 1 for a regression or a result that no machine can give, else the
    largest of what failed; 4 is among them where nothing is within --max-latency.
    """
    if report.interrupted:
        return INTERRUPTED
    worst = max((failure.exit_code for failure in report.failures), default=0)
    if any(not choice.best for choice in report.choices):
        worst = max(worst, GateError.exit_code)
    return max(worst, int(any(change.worse for change in report.changes) or impossible(report)))
