"""The study of a search, which Optuna keeps in a file.

A process that is killed leaves it whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeyolo.errors import DamagedFileError, RuntimeMissingError, UsageError
from edgeyolo.support.install import install_hint
from edgeyolo.training.search.plan import Plan
from edgeyolo.training.search.space import Range

FILE = "study.db"

STARTUP = 10
"""Trials drawn by chance before the sampler learns from those that were made (Optuna's own number)."""

PRUNE_AFTER = 5
"""Finished trials before any is pruned (Optuna's own number): a median of fewer says little."""

_TRIED_FOR_IMPORTANCE = 4


@dataclass(frozen=True)
class Tried:
    """A trial that is over.

    number: from 1. state: "complete", "pruned" (worse than the median at that epoch), "diverged" or "lost" (it was
    being set up when the process ended). ap: of its best epoch, None where none was validated. epochs: AP by epoch,
    counted from 0.
    """

    number: int
    state: str
    values: dict[str, float]
    ap: float | None
    epochs: dict[int, float]


class Study:
    """Trials of a plan, in the folder of its search."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        optuna = require_optuna()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna, self._plan = optuna, plan
        self._pruner = optuna.pruners.MedianPruner(PRUNE_AFTER, n_warmup_steps=plan.config.epochs // 5)
        try:
            self._study = optuna.create_study(
                storage=optuna.storages.RDBStorage(f"sqlite:///{(folder / FILE).absolute().as_posix()}"),
                study_name="edgeyolo",
                direction="maximize",
                load_if_exists=True,
                pruner=self._pruner,
            )
            known = self._study.user_attrs.get("space")
            space = [[each.name, each.low, each.high, each.log, each.whole] for each in plan.space]
            if known is None:
                self._study.set_user_attr("space", space)
        except Exception as error:  # SQLAlchemy's and sqlite's own, of many kinds
            raise DamagedFileError(
                f"{folder / FILE}: not the study of a search ({_first_line(error)})"
            ) from error
        if known is not None and known != space:
            raise UsageError(
                f"{folder}: the study there has another space: {', '.join(row[0] for row in known)}",
                hint="Begin a new search in another folder.",
            )

    def next(self) -> Any:
        """Optuna's trial that was being made when the last process ended, else a new one.

        Chance comes from the seed and from how many trials there are, so a search that was interrupted proposes
        what one that was not would have.
        """
        for trial in self._trials("RUNNING"):
            if trial.params.keys() == {each.name for each in self._plan.space}:
                return self._optuna.trial.Trial(self._study, trial._trial_id)
            self._study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)
        made = [trial for trial in self.tried if trial.state != "lost"]
        seed = np.random.SeedSequence([self._plan.config.seed, len(made)]).generate_state(1)
        self._study.sampler = self._optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=int(seed[0]))
        if not made:  # the recipe itself: what is found is at least as good
            first = {each.name: each.clip(getattr(self._plan.recipe, each.name)) for each in self._plan.space}
            if not self._trials("WAITING"):
                self._study.enqueue_trial(first)
        return self._study.ask({each.name: self._distribution(each) for each in self._plan.space})

    def report(self, trial: Any, epoch: int, ap: float) -> bool:
        """Note the AP of an epoch; True if the trial is below the median and should end."""
        if epoch not in self._frozen(trial).intermediate_values:  # a resumed run may come by again
            trial.report(ap, epoch)
        return bool(trial.should_prune())

    def finish(self, trial: Any, state: str, ap: float | None = None) -> None:
        """End a trial as "complete" with its AP, "pruned" or "diverged"."""
        if state == "complete":
            self._study.tell(trial, ap)
            return
        if state == "diverged":
            trial.set_user_attr("diverged", True)
        # Of pruned trials the sampler learns what it learns of complete ones; of failed ones nothing.
        self._study.tell(trial, state=self._optuna.trial.TrialState.PRUNED)

    @property
    def tried(self) -> list[Tried]:
        """Trials that are over, in order."""
        return list(self._tried())

    @property
    def best(self) -> Tried | None:
        """The complete trial of the highest AP, the first of equals."""
        complete = [trial for trial in self.tried if trial.state == "complete"]
        return max(complete, key=lambda trial: trial.ap or 0.0, default=None)

    def importance(self) -> dict[str, float]:
        """Share of each hyper-parameter in what sets good trials apart, highest first.

        By PED-ANOVA (arXiv:2304.10255). Empty before there are enough complete trials, and where their AP does not
        differ.
        """
        complete = [trial for trial in self.tried if trial.state == "complete"]
        if len(complete) < _TRIED_FOR_IMPORTANCE or len({trial.ap for trial in complete}) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that few trials say little is said beside the chart
            found = self._optuna.importance.get_param_importances(
                self._study, evaluator=self._optuna.importance.PedAnovaImportanceEvaluator()
            )
        return {name: float(share) for name, share in found.items() if np.isfinite(share)}

    def _tried(self) -> Iterator[Tried]:
        names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "lost"}
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state.name not in names:
                continue
            state = "diverged" if trial.user_attrs.get("diverged") else names[trial.state.name]
            epochs = dict(sorted(trial.intermediate_values.items()))
            ap = trial.value if state == "complete" else max(epochs.values(), default=None)
            yield Tried(trial.number + 1, state, dict(trial.params), ap, epochs)

    def _trials(self, state: str) -> list[Any]:
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.state.name == state]

    def _frozen(self, trial: Any) -> Any:
        return self._study.get_trials(deepcopy=False)[trial.number]

    def _distribution(self, each: Range) -> Any:
        if each.whole:
            return self._optuna.distributions.IntDistribution(int(each.low), int(each.high), log=each.log)
        return self._optuna.distributions.FloatDistribution(each.low, each.high, log=each.log)


def require_optuna() -> Any:
    """The package optuna; RuntimeMissingError where it is not installed."""
    try:
        import optuna
    except ImportError as missing:
        raise RuntimeMissingError(
            f"a search needs the package optuna, which is not installed ({missing})",
            hint=install_hint("search"),
        ) from missing
    return optuna


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
