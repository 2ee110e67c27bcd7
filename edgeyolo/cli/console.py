"""Output of commands.

Tables for people and JSON for programs on standard output, progress on standard error.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import click

from edgeyolo.cli import interrupt

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on standard output, nothing else."
)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows as a table; numbers stand right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        numbers = all(isinstance(row[index], int | float) or row[index] == "" for row in rows)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))  # Text: brackets are no markup
    console = Console(highlight=False)
    if (
        not console.is_terminal
    ):  # a pipe has no width to fold to; a table folded at 80 columns is hard to read back
        console.width = 200
    console.print(table)


def count_text(names: Iterable[str]) -> str:
    """`12 RBC, 1 WBC` of names, or of their Counter; most first."""
    counts = Counter(names).most_common()
    return ", ".join(f"{number} {name}" for name, number in counts) or "nothing"


def _cell(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def note(text: str) -> None:
    """Say something to the person at the terminal, beside the result."""
    click.echo(text, err=True)


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
            status.update(f"{text} ...")
        else:
            console.print(f"{text} ...")

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
        task = bar.add_task(description, total=None)

        def advance(done: int, total: int | None) -> None:
            interrupt.check()
            bar.update(task, completed=done, total=total)

        yield advance
