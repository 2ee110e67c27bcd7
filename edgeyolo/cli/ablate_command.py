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
@click.option("--table", type=click.IntRange(3, 8), help="Which table of the paper.")
@click.option(
    "--figure", type=click.Choice(["2", "5", "8"]), help="Which figure: 2 (d) trained, 5 and 8 drawn as well."
)
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
@click.option(
    "--weights",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    help="Figures 5 and 8: draw these, trained with auxiliary heads, and train nothing.",
)
@click.option(
    "--picture", type=click.IntRange(min=0), help="Figures 5 and 8: number of the validation image."
)
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
    table: int | None, figure: str | None, model: str | None, width: float, seeds: int, weights: tuple[str, ...],
    picture: int | None, output: Path | None, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Train the rows of one of the paper's ablation tables and print it.

    The paper's values stand beside ours.

    \b
    --table 3   compound scaling
    --table 4   planned RepConv in concatenation
    --table 5   planned RepConv in residual blocks
    --table 6   label assignment of auxiliary heads
    --table 7   bound on the auxiliary objectness
    --table 8   partial auxiliary heads
    --figure 2  E-ELAN of 1, 2 and 4 groups at equal cost
    --figure 5  cells and labels of each assignment
    --figure 8  objectness of both heads, coarse-to-fine

    Every row is trained from scratch with the same data, seeds and recipe. The same command with -o goes on where it
    was stopped.

    \b
    edgeyolo ablate --table 3 --data coco.yaml --epochs 300 --seeds 3 -o table3
    edgeyolo ablate --table 6 --model yolov7-tiny --width 0.5 --data data.yaml --imgsz 256 --epochs 60
    edgeyolo ablate --figure 5 --weights yolov7-w6_training.pt --data coco.yaml --imgsz 640 -o figures
    """
    from edgeyolo.errors import UsageError
    from edgeyolo.training.ablation.ablation_tables import find_figure, find_table
    from edgeyolo.training.recipe import recipe_for

    if (table is None) == (figure is None):
        raise UsageError("name either --table (3 to 8) or --figure (2, 5 or 8)")
    drawn = int(figure) if figure in ("5", "8") else 0
    if (weights or picture is not None) and not drawn:
        raise UsageError("--weights and --picture are for --figure 5 and --figure 8")
    rows = (
        find_table(table, model, width=width) if table else find_figure(int(figure or 0), model, width=width)
    )
    usual = {3: "yolov7x", 4: "yolov7x", 5: "yolor-w6"}.get(table or 0, "yolov7-e6")
    recipe = run_recipe(options, recipe_for(model or usual))
    config = run_config(options)
    if not config.batch_size:
        raise UsageError(
            "--batch auto: the rows of a table are compared at one batch size", hint="Give a number."
        )
    data = data_source(options).load()
    if data.validation is None:
        raise UsageError("ablate needs validation data", hint="Name it with --val-data.")
    run = {"config": config, "recipe": recipe, "seeds": seeds}
    with run_folder(output, "ablate", config) as folder:
        result = None if weights else _run(rows, data, folder, output is None, run)
        if drawn and leads():
            _draw(drawn, rows, data, folder, config, weights, picture)
    if leads() and result is not None:
        _report(result, folder, as_json)
    elif leads() and as_json:
        print_json({"folder": str(folder), "figure": drawn})


def _draw(
    number: int, rows: Any, data: Data, folder: Path, config: Any, weights: tuple[str, ...], picture: int | None
) -> None:  # fmt: skip
    """Draw a figure of the given weights, else of those that were trained in `folder`."""
    from edgeyolo.models.importer import import_checkpoint
    from edgeyolo.training.ablation.ablation import trained
    from edgeyolo.training.ablation.figures import draw_figure

    networks = [(Path(file).stem, import_checkpoint(file).network) for file in weights]
    networks = networks or trained(rows, folder, config.seed)
    path = folder / f"figure{number}.png"
    assert data.validation is not None
    draw_figure(number, path, networks, data.validation, config.image_size, picture=picture)
    note(f"drawn: {path}")


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
    paper = (
        " The paper's values are for its own networks on COCO." if any(r.paper for r in result.rows) else ""
    )
    note(f"{result.kind} {result.number}: {result.title}.{paper}")
    for line in result.readings():
        note(line)
    if result.note:
        note(result.note)
    if len(result.seeds) == 1:
        note("One run a row: differences of some tenths may be chance. --seeds 3 shows how much.")
    note(f"written to {folder / RESULT}")
