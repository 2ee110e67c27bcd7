"""A run in the terminal.

A bar for the epoch, a line for each epoch with its losses and AP, and the time left.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from edgeyolo.datasets import Problem
from edgeyolo.support.printable import printable
from edgeyolo.training.config import TrainConfig
from edgeyolo.training.loop.listener import Listener
from edgeyolo.training.loop.schedule import Schedule
from edgeyolo.training.loop.state import Position


class ProgressListener(Listener):
    """Shows a run on `console`, standard error by default."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._epochs = self._iterations = self._batches = 0
        self._sizes = (1, 1)
        self._first = self._before = 0.0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            console=self.console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, facts="")

    def note(self, sentence: str) -> None:
        self._say(escape(sentence))

    def start(self, config: TrainConfig, schedule: Schedule, position: Position) -> None:
        self._epochs, self._batches = config.epochs, schedule.batches
        self._iterations = config.epochs * schedule.batches
        self._sizes = (config.first_size or config.image_size, config.image_size)
        self._first, self._before = self._share(position), position.seconds
        if position.iteration:
            self._say(f"going on at epoch {position.epoch}, iteration {position.iteration}")
        self._progress.start()

    def iteration(self, position: Position, items: list[float]) -> None:
        self._progress.update(
            self._task,
            description=f"epoch {position.epoch + 1}/{self._epochs}",
            completed=position.batch,
            total=self._batches,
            facts=f"loss {items[3]:.4f}  {self._left(position)}",
        )

    def epoch(self, row: dict[str, Any], position: Position) -> None:
        losses = "  ".join(f"{name} {row[name]:.4f}" for name in ("box", "obj", "cls"))
        found = f"  AP {row['AP']:.4f}  AP50 {row['AP50']:.4f}" if "AP" in row else ""
        best = "  best" if "AP" in row and position.best_epoch == row["epoch"] else ""
        self._say(f"epoch {row['epoch'] + 1}/{self._epochs}  {losses}{found}{best}  {self._left(position)}")

    def problem(self, problem: Problem) -> None:
        self._say(f"skipped: {escape(str(problem))}")

    def end(self, position: Position) -> None:
        self.close()

    def close(self) -> None:
        """Give the terminal back; also where a run ends with an error."""
        self._progress.stop()

    def _say(self, line: str) -> None:
        """One line stays one line where standard error is a file."""
        self.console.print(printable(line), soft_wrap=True)

    def _left(self, position: Position) -> str:
        share = self._share(position)
        if share <= self._first:
            return ""
        seconds = (position.seconds - self._before) / (share - self._first) * (1 - share)
        minutes, hours = round(seconds / 60), int(seconds // 3600)
        return f"{hours} h {minutes - 60 * hours:02} min left" if hours else f"{minutes} min left"

    def _share(self, position: Position) -> float:
        """Share of the run's work that is done, from 0 to 1.

        An iteration takes as long as its pictures have pixels, and their sides grow evenly.
        """
        done = position.iteration / self._iterations
        first, last = self._sizes
        if first == last:
            return done
        return float(((first + (last - first) * done) ** 3 - first**3) / (last**3 - first**3))
