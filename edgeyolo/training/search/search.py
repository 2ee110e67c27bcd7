"""The search itself: one run after another.

The recipe of each follows from those before.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeyolo.datasets import Dataset
from edgeyolo.errors import NotFiniteError, UsageError
from edgeyolo.support.locks import hold
from edgeyolo.training.config import TrainConfig
from edgeyolo.training.loop.batch_size import settle_batch
from edgeyolo.training.loop.history import best_row
from edgeyolo.training.loop.listener import Listener, Listeners
from edgeyolo.training.loop.processes import Processes
from edgeyolo.training.loop.schedule import Schedule
from edgeyolo.training.loop.state import Position
from edgeyolo.training.loop.trainer import BEST, LOCK, STATE
from edgeyolo.training.report.settings import SettingsListener
from edgeyolo.training.run import prepare_network, resume, train
from edgeyolo.training.search.outcome import Outcome, write_outcome
from edgeyolo.training.search.plan import Plan, is_search, recipe_of
from edgeyolo.training.search.study import Study, Tried
from edgeyolo.training.sources import DataSource, SourceListener

TRIALS = "trials"


class SearchListener(Listener):
    """Hears of trials, and of what the run of each tells; does nothing."""

    def trial(self, made: int, trials: int, best: Tried | None) -> None:
        """Hear that after `made` trials of `trials` another begins, or goes on."""

    def tried(self, trial: Tried, best: Tried | None) -> None:
        """Hear that a trial is over."""


@dataclass(frozen=True)
class Search:
    """A search in a folder, on data that is loaded.

    source: where the data is from; every run keeps it, so that it can be gone on with by itself.
    """

    plan: Plan
    folder: Path
    training: Dataset
    validation: Dataset
    source: DataSource

    def run(self, listener: SearchListener | None = None) -> Outcome:
        """Make the trials of the plan that are not made yet, and write what was found.

        The folder gets study.db, trials/0001 ... (of every run its settings, table and pictures, and the weights of
        the best alone), trials.csv, best.yaml (a recipe for --recipe) and search.html, all after each trial.

        Ctrl-C saves the running trial as that of any run and raises KeyboardInterrupt. A trial that diverges counts
        as the worst; any other error ends the search, which can be gone on with.

        Raises:
            UsageError: another process searches in the folder, or weights that the search starts from have changed.
        """
        self.plan.require_files()
        lock = hold(self.folder / LOCK)
        if lock is None:
            raise UsageError(
                f"{self.folder}: another process is searching there",
                hint="Choose another folder with -o, or wait for it to end.",
            )
        try:
            return self._run(listener or SearchListener())
        finally:
            lock.release()

    def _run(self, listener: SearchListener) -> Outcome:
        study = Study(self.folder, self.plan)
        while len(made := [each for each in study.tried if each.state != "lost"]) < self.plan.trials:
            trial = study.next()
            listener.trial(len(made), self.plan.trials, study.best)
            state, ap = self._try(study, trial, listener)
            study.finish(trial, state, ap)
            self._keep(study.best)
            listener.tried(study.tried[-1], study.best)
            write_outcome(Outcome.of(self.plan, study, self.folder), self.folder)
        outcome = Outcome.of(self.plan, study, self.folder)
        write_outcome(outcome, self.folder)
        return outcome

    def _try(self, study: Study, trial: Any, listener: Listener) -> tuple[str, float | None]:
        """Make the run of a trial, or go on with it; how it ended, and its AP."""
        folder = trial_folder(self.folder, trial.number + 1)
        kept = (SourceListener(folder, self.source), SettingsListener(folder, self.source))
        listeners = Listeners([listener, *kept, _Reporter(study, trial)])
        try:
            if (folder / STATE).is_file():
                history = resume(folder, self.training, self.validation, listener=listeners)
            else:
                history = self._begin(trial, folder, listeners)
        except _Pruned:
            return "pruned", None
        except NotFiniteError as error:
            listener.note(error.message)
            return "diverged", None
        best = best_row(history)
        return "complete", float(best["AP"]) if best else 0.0

    def _begin(self, trial: Any, folder: Path, listener: Listener) -> list[dict[str, Any]]:
        if folder.exists():  # of a process that was killed before it saved anything
            shutil.rmtree(folder)
        return train(
            self.plan.model, self.training, self.validation, folder, config=self.plan.config,
            recipe=recipe_of(self.plan, trial.params, f"{self.plan.recipe.name}-trial{trial.number + 1}"),
            listener=listener, autoanchor=self.plan.autoanchor, weights=self.plan.weights,
            activation=self.plan.activation,
        )  # fmt: skip

    def _keep(self, best: Tried | None) -> None:
        """Remove weights and states of all trials but the best.

        Those of a whole search would fill a disk.
        """
        for folder in (self.folder / TRIALS).glob("[0-9]*"):
            if best is None or int(folder.name) != best.number:
                shutil.rmtree(folder / Path(BEST).parent, ignore_errors=True)
                (folder / STATE).unlink(missing_ok=True)


def begin(search: Search, tell: Callable[[str], None] = lambda _: None) -> Search:
    """Write the plan of a search into its new folder and return the search.

    A batch size that memory decides is settled.

    UsageError where the folder holds a search or a run already.
    """
    if is_search(search.folder) or (search.folder / STATE).exists():
        what = "search" if is_search(search.folder) else "run"
        raise UsageError(
            f"{search.folder} holds a {what} already",
            hint="Resume it, or choose another folder for a new one.",
        )
    plan = search.plan.with_hashes()
    plan = replace(plan, config=_settled(plan, search.training, tell))
    search.folder.mkdir(parents=True, exist_ok=True)
    search.source.save(search.folder)
    plan.save(search.folder)
    return replace(search, plan=plan)


def go_on(folder: Path, trials: int | None) -> Plan:
    """The plan of the search in `folder`, perhaps with another number of trials.

    UsageError where more are made already.
    """
    plan = Plan.read(folder)
    if trials is None or trials == plan.trials:
        return plan
    plan = replace(plan, trials=trials)
    made = sum(each.state != "lost" for each in Study(folder, plan).tried)
    if made > trials:
        raise UsageError(
            f"{folder}: {made} trials are made already, more than --search {trials}",
            hint=f"edgeyolo train --resume {folder} --search {2 * made}",
        )
    plan.save(folder)
    return plan


def trial_folder(folder: Path, number: int) -> Path:
    """The folder of a trial's run; numbers from 1."""
    return folder / TRIALS / f"{number:04d}"


def _settled(plan: Plan, training: Dataset, tell: Callable[[str], None]) -> TrainConfig:
    """The configuration of all trials.

    A batch size that memory decides is the same in all.
    """
    if plan.config.batch_size:
        return plan.config
    start = prepare_network(
        plan.model, training.class_names, training, plan.config.image_size, weights=plan.weights,
        autoanchor=False, activation=plan.activation,
    )  # fmt: skip
    processes = Processes(device=plan.config.device)
    return settle_batch(start.network, training, plan.recipe, plan.config, processes, tell=tell)


class _Pruned(Exception):  # noqa: N818  the end of a trial, not an error
    """A trial that is worse than the median of those before."""


class _Reporter(Listener):
    """Tells the study each epoch's AP, and ends a run that is worse than the median."""

    def __init__(self, study: Study, trial: Any) -> None:
        self._study, self._trial, self._epochs = study, trial, 0

    def start(self, config: TrainConfig, schedule: Schedule, position: Position) -> None:
        self._epochs = config.epochs

    def epoch(self, row: dict[str, Any], position: Position) -> None:
        if row.get("AP") is None:
            return
        worse = self._study.report(self._trial, row["epoch"], row["AP"])
        if worse and position.epoch < self._epochs:
            raise _Pruned
