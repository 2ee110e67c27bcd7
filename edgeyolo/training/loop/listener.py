"""Listeners of a run: a progress bar, a log, TensorBoard, nobody."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeyolo.datasets import Problem
from edgeyolo.errors import RuntimeMissingError
from edgeyolo.support.install import install_hint
from edgeyolo.training.config import TrainConfig
from edgeyolo.training.data.batches import Batch
from edgeyolo.training.loop.schedule import Schedule
from edgeyolo.training.loop.state import Position


class Listener:
    """Hears everything and does nothing; override what you need."""

    def note(self, sentence: str) -> None:
        """Something worth knowing about the run."""

    def start(self, config: TrainConfig, schedule: Schedule, position: Position) -> None:
        """Hear that the run begins, or goes on from `position`."""

    def batch(self, batch: Batch, position: Position) -> None:
        """Hear that a batch is about to be learned from."""

    def iteration(self, position: Position, items: list[float]) -> None:
        """Hear of an iteration: items are box, objectness, class loss and their sum."""

    def epoch(self, row: dict[str, Any], position: Position) -> None:
        """Hear of an epoch that was validated; `row` is its line in the table."""

    def saved(self, state: Path, position: Position) -> None:
        """Hear that the run can go on from here.

        The leading process has written its `state`.
        """

    def problem(self, problem: Problem) -> None:
        """Hear of a damaged image that is passed over."""

    def end(self, position: Position) -> None:
        """Hear that the run is over."""


class Listeners(Listener):
    """Several as one."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = tuple(listeners)

    def note(self, sentence: str) -> None:
        for listener in self.listeners:
            listener.note(sentence)

    def start(self, config: TrainConfig, schedule: Schedule, position: Position) -> None:
        for listener in self.listeners:
            listener.start(config, schedule, position)

    def batch(self, batch: Batch, position: Position) -> None:
        for listener in self.listeners:
            listener.batch(batch, position)

    def iteration(self, position: Position, items: list[float]) -> None:
        for listener in self.listeners:
            listener.iteration(position, items)

    def epoch(self, row: dict[str, Any], position: Position) -> None:
        for listener in self.listeners:
            listener.epoch(row, position)

    def saved(self, state: Path, position: Position) -> None:
        for listener in self.listeners:
            listener.saved(state, position)

    def problem(self, problem: Problem) -> None:
        for listener in self.listeners:
            listener.problem(problem)

    def end(self, position: Position) -> None:
        for listener in self.listeners:
            listener.end(position)


class TensorBoardListener(Listener):
    """Logs for `tensorboard --logdir FOLDER`.

    Losses of every iteration and the table's columns of every epoch.
    """

    def __init__(self, folder: Path, *, every: int = 10) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise RuntimeMissingError("TensorBoard is not installed", hint=install_hint("train")) from error
        self._writer: Any = SummaryWriter(str(folder))
        self._every = every

    def iteration(self, position: Position, items: list[float]) -> None:
        if position.iteration % self._every == 0:
            for name, value in zip(("box", "obj", "cls", "loss"), items, strict=True):
                self._writer.add_scalar(f"train/{name}", value, position.iteration)

    def epoch(self, row: dict[str, Any], position: Position) -> None:
        for name, value in row.items():
            if name != "epoch" and value is not None:
                self._writer.add_scalar(f"epoch/{name}", value, row["epoch"])
        self._writer.flush()

    def end(self, position: Position) -> None:
        self._writer.close()
