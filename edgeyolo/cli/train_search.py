"""`edgeyolo train --search`: a search begun and gone on with, and what it prints."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeyolo.cli.console import note, print_json, print_table
from edgeyolo.cli.idle_options import given_options, refuse_idle
from edgeyolo.cli.train_options import resumable, run_folder

if TYPE_CHECKING:
    from edgeyolo.training.config import TrainConfig
    from edgeyolo.training.recipe import Recipe
    from edgeyolo.training.search.outcome import Outcome
    from edgeyolo.training.search.search import Search
    from edgeyolo.training.search.space import Range
    from edgeyolo.training.sources import Data, DataSource

_SHOWN = 5
_COLUMNS = 4  # hyper-parameters: more do not fit into 80 columns


def refuse_unsearchable(options: dict[str, Any]) -> None:
    """UsageError for options that contradict a search; for --space without one."""
    from edgeyolo.errors import UsageError

    if options["search"] is None:
        refuse_idle({"space"}, "ranges of a search, which was not asked for", hint="Add --search TRIALS.")
        return
    refuse_idle(
        {"no_val", "qat", "distill", "calib_images", "tensorboard"},
        "cannot be had with --search, which compares ordinary runs by their AP",
        hint="Search first, then train with --recipe RUN/best.yaml.",
    )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "--search makes one run after another in one process; torchrun started several",
            hint="Search with one process on fewer epochs, then train with all on the recipe that was found.",
        )


def begin_search(
    model: str, weights: str | Path | None, options: dict[str, Any], source: DataSource, data: Data, *,
    config: TrainConfig, recipe: Recipe, activation: Any,
) -> tuple[Path, Outcome]:  # fmt: skip
    """Make the folder of a search and run it."""
    from edgeyolo.errors import UsageError
    from edgeyolo.training.search.plan import Plan
    from edgeyolo.training.search.search import Search, begin
    from edgeyolo.training.search.study import require_optuna

    require_optuna()
    if data.validation is None:
        raise UsageError(
            "--search compares runs by AP, and there is no validation data to measure it on",
            hint="Name it with --val-data or --val-split.",
        )
    space = _space(options, config, recipe, len(data.training.class_names))
    plan = Plan(
        options["search"], space, recipe, config, model, str(weights) if weights else None, activation,
        not options["no_autoanchor"],
    )  # fmt: skip
    with run_folder(options["output"], "search", config, options["project"]) as folder:
        for line in data.notes:
            note(line)
        search = begin(Search(plan, folder, data.training, data.validation, source), tell=note)
        return folder, _run(search)


def resume_search(folder: Path, trials: int | None) -> Outcome:
    """Go on with the search in a folder, perhaps to another number of trials."""
    from edgeyolo.errors import UsageError
    from edgeyolo.training.search.search import Search, go_on
    from edgeyolo.training.sources import DataSource

    given = given_options({"epochs", "tensorboard"})
    if given:
        raise UsageError(
            f"{', '.join(given)}: all trials of a search are made in the same way",
            hint="Leave it out, or begin a new search.",
        )
    plan, source = go_on(folder, trials), DataSource.read(folder)
    data = source.load()
    if data.validation is None:
        raise UsageError(f"{folder}: the search's validation data has no objects any more")
    return _run(Search(plan, folder, data.training, data.validation, source))


def _space(options: dict[str, Any], config: TrainConfig, recipe: Recipe, classes: int) -> tuple[Range, ...]:
    """Ranges of --space, else the usual ones without what --set fixes."""
    from edgeyolo.training.search.space import read_space, usual_space

    if options["space"]:
        return read_space(recipe, options["space"])
    fixed = {setting.partition("=")[0].strip() for setting in options["settings"]}
    return usual_space(recipe, fixed=fixed, classes=classes, rect=config.rect_train)


def _run(search: Search) -> Outcome:
    from edgeyolo.training.search.progress import SearchProgress
    from edgeyolo.training.search.study import FILE

    shown = SearchProgress()
    names = ", ".join(each.name for each in search.plan.space)
    shown.note(f"searching {len(search.plan.space)} hyper-parameters: {names}")
    again = f"edgeyolo train --resume {shlex.quote(str(search.folder))}"
    with resumable(again, search.folder / FILE):
        try:
            return search.run(shown)
        finally:
            shown.close()


def report_search(folder: Path, outcome: Outcome, as_json: bool) -> None:
    """Print the best trials, or everything as JSON, and what to do with the recipe."""
    from edgeyolo.training.loop.trainer import BEST
    from edgeyolo.training.search.outcome import PAGE, RECIPE, TABLE
    from edgeyolo.training.search.search import trial_folder

    best = outcome.best
    files = {"page": str(folder / PAGE)}
    if best is not None:
        weights = trial_folder(folder, best.number) / BEST
        files |= {"recipe": str(folder / RECIPE), "weights": str(weights)}
    if as_json:
        print_json({"folder": str(folder), **files, **outcome.to_json()})
        return
    complete = (each for each in outcome.tried if each.state == "complete")
    ranked = sorted(complete, key=lambda each: each.ap or 0.0, reverse=True)
    every = list(outcome.importance) or [each.name for each in outcome.plan.space]
    names = every[:_COLUMNS]
    print_table(
        ("trial", "AP", *names),
        [
            (each.number, f"{each.ap:.4f}", *(f"{each.values[n]:.4g}" for n in names))
            for each in ranked[:_SHOWN]
        ],
    )
    if len(every) > len(names):
        which = "those that mattered most" if outcome.importance else "the first"
        note(f"of {len(every)} hyper-parameters {which}; all are in {folder / TABLE}")
    note(f"history and importance: {files['page']}")
    if best is None:
        note("No trial was complete, so there is no recipe.")
        return
    note(f"Next: train longer with what was found: --recipe {shlex.quote(files['recipe'])}")
