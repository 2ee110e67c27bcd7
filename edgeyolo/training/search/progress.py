"""A search in the terminal: a bar for its trials, a line for each that is over."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edgeyolo.datasets import Problem
from edgeyolo.support.printable import printable
from edgeyolo.training.config import TrainConfig
from edgeyolo.training.loop.schedule import Schedule
from edgeyolo.training.loop.state import Position
from edgeyolo.training.search.search import SearchListener
from edgeyolo.training.search.study import Tried


class SearchProgress(SearchListener):
    """Shows a search on `console`, standard error by default."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._made = self._trials = self._iterations = self._epochs = 0
        self._best = ""
        self._said: set[str] = set()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}"),
            console=self.console,
            transient=True,
        )
        self._task = self._progress.add_task("search", total=None, facts="")

    def trial(self, made: int, trials: int, best: Tried | None) -> None:
        self._made, self._trials = made, trials
        self._best = _best(best)
        self._progress.update(self._task, total=trials, completed=made, facts=self._best)
        self._progress.start()

    def tried(self, trial: Tried, best: Tried | None) -> None:
        found = {
            "complete": f"AP {trial.ap or 0.0:.4f}",
            "pruned": f"pruned after {len(trial.epochs)} epochs, AP {trial.ap or 0.0:.4f}",
        }.get(trial.state, trial.state)
        values = "  ".join(f"{name} {value:.3g}" for name, value in trial.values.items())
        self._say(f"trial {trial.number}  {found}  {_best(best)}  ({values})")
        self._progress.update(self._task, completed=self._made + 1, facts=_best(best))
        if self._made + 1 == self._trials:
            self.close()

    def note(self, sentence: str) -> None:
        if sentence not in self._said:  # the runs of all trials begin alike
            self._said.add(sentence)
            self._say(sentence)

    def start(self, config: TrainConfig, schedule: Schedule, position: Position) -> None:
        self._epochs, self._iterations = config.epochs, config.epochs * schedule.batches
        if position.iteration:
            self._say(f"going on with a trial at epoch {position.epoch + 1}")

    def iteration(self, position: Position, items: list[float]) -> None:
        epoch = min(position.epoch + 1, self._epochs)
        self._progress.update(
            self._task,
            completed=self._made + position.iteration / self._iterations,
            facts=f"epoch {epoch}/{self._epochs}  loss {items[3]:.4f}  {self._best}",
        )

    def epoch(self, row: dict[str, Any], position: Position) -> None:
        ap = f"AP {row['AP']:.4f}  " if row.get("AP") is not None else ""
        self._progress.update(self._task, facts=f"epoch {row['epoch'] + 1}/{self._epochs}  {ap}{self._best}")

    def problem(self, problem: Problem) -> None:
        self.note(f"skipped: {problem}")

    def close(self) -> None:
        """Give the terminal back; also where a search ends with an error."""
        self._progress.stop()

    def _say(self, line: str) -> None:
        self.console.print(printable(escape(line)), soft_wrap=True)


def _best(best: Tried | None) -> str:
    return f"best AP {best.ap:.4f} in trial {best.number}" if best and best.ap is not None else ""
