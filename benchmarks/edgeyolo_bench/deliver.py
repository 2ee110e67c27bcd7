"""What becomes of a report: compared with a baseline, saved, printed, and turned into an exit code."""

from __future__ import annotations

from pathlib import Path

import click

from edgeyolo.cli.console import note, print_json, print_table
from edgeyolo.errors import INTERRUPTED
from edgeyolo.results import next_run
from edgeyolo_bench.baseline import compare
from edgeyolo_bench.report import Report
from edgeyolo_bench.table import columns, notes, rows


def deliver(
    report: Report, earlier: Report | None, tolerance: float, output: Path | None, *, as_json: bool
) -> None:
    """Save and print a report, then end the command with its exit code.

    With `as_json` the report is the one document on standard output, and is saved only where `output` is given.
    """
    if earlier is not None:
        report = compare(report, earlier, tolerance)
    folder = output or (None if as_json else next_run("bench"))
    if folder is not None:
        report.save(folder / "report.json")
    if as_json:
        print_json(report.to_json())
    else:
        print_table(columns(report), rows(report))
        for line in notes(report):
            note(line)
        note(f"written to {folder}")
    if code := exit_code(report):
        click.get_current_context().exit(code)


def exit_code(report: Report) -> int:
    """130 for one that was interrupted, 1 for a regression, else the largest of what failed."""
    if report.interrupted:
        return INTERRUPTED
    worst = max((failure.exit_code for failure in report.failures), default=0)
    return max(worst, int(any(change.worse for change in report.changes)))
