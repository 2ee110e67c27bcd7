"""Findings of a search so far, and their files."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeyolo.errors import RuntimeMissingError
from edgeyolo.support.files import atomic_file
from edgeyolo.support.install import install_hint
from edgeyolo.training.recipe import Recipe
from edgeyolo.training.search.page import render
from edgeyolo.training.search.plan import Plan, recipe_of
from edgeyolo.training.search.study import Study, Tried

RECIPE, TABLE, PAGE = "best.yaml", "trials.csv", "search.html"


@dataclass(frozen=True)
class Outcome:
    """Trials that are over, the best of them, and importance.

    recipe: of the best. importance: share of each hyper-parameter. best and recipe are None where no trial was
    complete; importance is empty where nothing can be said of it.
    """

    plan: Plan
    tried: tuple[Tried, ...]
    best: Tried | None
    recipe: Recipe | None
    importance: dict[str, float]

    @classmethod
    def of(cls, plan: Plan, study: Study, folder: Path) -> Outcome:
        """The outcome of a study as it stands."""
        best = study.best
        recipe = recipe_of(plan, best.values, f"{folder.absolute().name}-best") if best else None
        return cls(plan, tuple(study.tried), best, recipe, study.importance())

    def to_json(self) -> dict[str, Any]:
        """Plain values; `trials` in order, with AP by epoch counted from 0."""
        return {
            "best_trial": self.best.number if self.best else None,
            "AP": self.best.ap if self.best else None,
            "best": self.best.values if self.best else None,
            "importance": self.importance,
            "space": {each.name: [each.low, each.high] for each in self.plan.space},
            "trials": [
                {
                    "trial": each.number,
                    "state": each.state,
                    "AP": each.ap,
                    "values": each.values,
                    "epochs": [{"epoch": epoch, "AP": ap} for epoch, ap in each.epochs.items()],
                }
                for each in self.tried
            ],
        }


def write_outcome(outcome: Outcome, folder: Path) -> None:
    """Write the table of trials, the page, and the best recipe if there is one."""
    names = [each.name for each in outcome.plan.space]
    with atomic_file(folder / TABLE) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["trial", "state", "AP", "epochs", *names])
        for each in outcome.tried:
            values = [each.values.get(name, "") for name in names]
            table.writerow([each.number, each.state, each.ap, len(each.epochs), *values])
    with atomic_file(folder / PAGE) as draft:
        draft.write_text(
            render(outcome.plan, outcome.tried, outcome.best, outcome.importance), encoding="utf-8"
        )
    if outcome.best is not None and outcome.recipe is not None:
        _write_recipe(outcome.best, outcome.recipe, folder / RECIPE)


def _write_recipe(best: Tried, recipe: Recipe, file: Path) -> None:
    """The recipe of the best trial as YAML that --recipe takes."""
    try:
        import yaml
    except ImportError as error:
        raise RuntimeMissingError("writing YAML needs PyYAML", hint=install_hint("train")) from error
    with atomic_file(file) as draft:
        values = yaml.safe_dump(recipe.to_dict(), sort_keys=False, allow_unicode=True)
        draft.write_text(f"# AP {best.ap:.4f} in trial {best.number}\n{values}", encoding="utf-8")
