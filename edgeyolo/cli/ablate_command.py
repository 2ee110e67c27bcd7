"""Command `edgeyolo ablate`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeyolo.cli.completion import complete_models
from edgeyolo.cli.console import json_option, note, print_json, print_table
from edgeyolo.cli.train_options import (
    DATA_OPTIONS,
    RUN_OPTIONS,
    data_source,
    leads,
    resumable,
    run_config,
    run_folder,
    run_recipe,
    with_options,
)

if TYPE_CHECKING:
    from edgeyolo.training.ablation.ablation import Ablation
    from edgeyolo.training.sources import Data


@click.command("ablate")
@click.option("--table", "number", type=click.IntRange(3, 8), required=True, help="Which table of the paper.")
@click.option(
    "--model", shell_complete=complete_models, help="Another network than the paper's, such as yolov7-tiny."
)
@click.option(
    "--width",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Factor for all widths.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Runs of every row.")
@with_options(*DATA_OPTIONS)
@with_options(*RUN_OPTIONS)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the runs (default: runs/ablate/exp, exp2 ...); one that was stopped is gone on with.",
)
@json_option
def command(
    number: int, model: str | None, width: float, seeds: int, output: Path | None, as_json: bool, **options: Any
) -> None:  # fmt: skip
    """Train the rows of one of the paper's ablation tables and print it.

    The paper's values stand beside ours.

    \b
    3  compound scaling
    4  planned RepConv in concatenation
    5  planned RepConv in residual blocks
    6  label assignment of auxiliary heads
    7  bound on the auxiliary objectness
    8  partial auxiliary heads

    Every row is trained from scratch with the same data, seeds and recipe. The same command with -o goes on where it
    was stopped.

    \b
    edgeyolo ablate --table 3 --data coco.yaml --epochs 300 --seeds 3 -o table3
    edgeyolo ablate --table 6 --model yolov7-tiny --width 0.5 --data data.yaml --imgsz 256 --epochs 60
    """
    from edgeyolo.errors import UsageError
    from edgeyolo.training.ablation.ablation_tables import find_table
    from edgeyolo.training.recipe import recipe_for

    table = find_table(number, model, width=width)
    recipe = run_recipe(options, recipe_for(model or {3: "yolov7x", 4: "yolov7x"}.get(number, "yolov7-e6")))
    config = run_config(options)
    data = data_source(options).load()
    if data.validation is None:
        raise UsageError("ablate needs validation data", hint="Name it with --val-data.")
    run = {"config": config, "recipe": recipe, "seeds": seeds}
    with run_folder(output, "ablate", config) as folder:
        result = _run(table, data, folder, output is None, run)
    if leads():
        _report(result, folder, as_json)


def _run(table: Any, data: Data, folder: Path, new: bool, run: dict[str, Any]) -> Ablation:
    """Train all rows; if interrupted, say how to go on."""
    from edgeyolo.training.ablation.ablation import ablate
    from edgeyolo.training.report.progress import ProgressListener

    shown: list[ProgressListener] = []

    def listen() -> ProgressListener:
        shown.append(ProgressListener())
        return shown[-1]

    for line in data.notes:
        note(line)
    again = ["edgeyolo", *sys.argv[1:], *(["-o", str(folder)] if new else [])]
    assert data.validation is not None
    with resumable(shlex.join(again), folder):
        try:
            return ablate(table, data.training, data.validation, folder, listener=listen, **run)
        except BaseException:  # a run that ends well gives the terminal back by itself
            for listener in shown[-1:]:
                listener.close()
            raise


def _report(result: Ablation, folder: Path, as_json: bool) -> None:
    from edgeyolo.training.ablation.ablation import COLUMNS, RESULT

    if as_json:
        print_json({"folder": str(folder), **result.to_json()})
        return
    print_table(COLUMNS, result.cells())
    note(f"Table {result.number}: {result.title}. The paper's values are for its own networks on COCO.")
    if result.note:
        note(result.note)
    if len(result.seeds) == 1:
        note("One run a row: differences of some tenths may be chance. --seeds 3 shows how much.")
    note(f"written to {folder / RESULT}")
