"""Progress of a measurement on standard error.

One bar on a terminal, plain lines elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgeyolo.support.printable import printable_line
from edgeyolo_bench.measure.measure import Listener


@contextmanager
def listening() -> Iterator[Listener]:
    """A Listener that shows what it is told.

    Ctrl-C is left to `measure`, which reports what was completed.
    """
    from rich import progress as bars
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False)
    columns = (
        bars.TextColumn("{task.description}", markup=False), bars.BarColumn(), bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(), bars.TimeRemainingColumn(),
    )  # fmt: skip
    # Drawn twice a second: the measured process shall have the cores.
    with bars.Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal, refresh_per_second=2
    ) as bar:
        task = bar.add_task("starting", total=None)

        def step(text: str) -> None:
            text = printable_line(text)
            bar.reset(task, description=text, total=None)
            if not console.is_terminal:
                console.print(f"{text} ...")

        def turns(done: int, total: int | None) -> None:
            if not done:
                step("measuring")
            bar.update(task, completed=done, total=total)

        def images(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        said: set[str] = set()

        def remark(text: str) -> None:
            if text not in said:  # of several devices or rows
                console.print(printable_line(text), soft_wrap=True)
                said.add(text)

        yield Listener(step, turns, images, remark)
