"""Output of commands.

Tables for people and JSON for programs on standard output, progress on standard error.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import click

from edgeyolo.cli import interrupt
from edgeyolo.cli.failure import Output
from edgeyolo.cli.tables import Column, lay_out
from edgeyolo.support.printable import printable, printable_line

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on standard output, nothing else."
)


def print_json(value: Any) -> None:
    """Print one JSON document, in ASCII.

    It is the same bytes in every locale, and nothing in it moves a cursor.
    """
    begin_document()
    click.echo(json.dumps(value, indent=2))


def begin_document() -> None:
    """Note that standard output holds its one JSON document, or its beginning.

    An error adds none then.
    """
    context = click.get_current_context(silent=True)
    output = context.find_object(Output) if context else None
    if output is not None:
        output.document = True


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows as a table; numbers stand right.

    What does not fit the terminal's width stands below its row. A pipe has no width, unless COLUMNS gives one.
    """
    found = [
        Column(
            printable_line(name),
            tuple(_cell(row[index]) for row in rows),
            right=all(isinstance(row[index], int | float) or row[index] == "" for row in rows),
        )
        for index, name in enumerate(columns)
    ]
    click.echo("\n".join(("", *lay_out(found, _width()), "")))


def _width() -> int | None:
    """Width of what is printed to, in cells; None where it has none."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal():
        return shutil.get_terminal_size().columns
    return None


def count_text(names: Iterable[str]) -> str:
    """`12 RBC, 1 WBC` of names, or of their Counter; most first."""
    counts = Counter(names).most_common()
    return ", ".join(f"{number} {name}" for name, number in counts) or "nothing"


def _cell(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else printable_line(str(value))


def say(text: str) -> None:
    """Print a line of the result."""
    click.echo(printable(text))


def note(text: str) -> None:
    """Say something to the person at the terminal, beside the result."""
    click.echo(printable(text), err=True)


class LogFormatter(logging.Formatter):
    """Log messages that are harmless to print."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """A spinner with the current step, on standard error.

    Plain lines where that is no terminal.
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False)
    status = console.status("starting") if console.is_terminal else None

    def step(text: str) -> None:
        interrupt.check()
        if status:
            status.update(f"{printable_line(text)} ...")
        else:
            console.print(f"{printable_line(text)} ...")

    with status or nullcontext():
        yield step
    interrupt.check()


@contextmanager
def progress(description: str, unit: str = "") -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on standard error.

    Call what it yields with (done, total or None). Bytes for unit "B"; any other unit is counted by the second.
    """
    from rich import progress as bars
    from rich.console import Console
    from rich.text import Text

    class Rate(bars.ProgressColumn):
        def render(self, task: bars.Task) -> Text:
            return Text(f"{task.speed or 0.0:.1f} {unit}/s")

    console = Console(stderr=True)
    count: bars.ProgressColumn = bars.DownloadColumn() if unit == "B" else bars.MofNCompleteColumn()
    columns = (
        bars.TextColumn("{task.description}"), bars.BarColumn(), count,
        bars.TimeElapsedColumn(), bars.TimeRemainingColumn(),
        *([Rate()] if unit not in ("", "B") else []),
    )  # fmt: skip
    with bars.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(printable_line(description), total=None)

        def advance(done: int, total: int | None) -> None:
            interrupt.check()
            bar.update(task, completed=done, total=total)

        yield advance
