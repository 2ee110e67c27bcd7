"""Command `edgeyolo train`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgeyolo.cli.completion import complete_models
from edgeyolo.cli.console import json_option, note, print_json, print_table, progress
from edgeyolo.cli.idle_options import refuse_idle
from edgeyolo.cli.options import locate_weights
from edgeyolo.cli.train_options import (
    DATA_OPTIONS,
    RUN_OPTIONS,
    data_source,
    leads,
    quantized_options,
    resumable,
    run_config,
    run_folder,
    run_recipe,
    with_options,
)
from edgeyolo.cli.train_ray import begin_by_ray, refuse_unfit_for_ray, resume_by_ray
from edgeyolo.cli.train_search import begin_search, refuse_unsearchable, report_search, resume_search

if TYPE_CHECKING:
    from edgeyolo.training.loop.listener import Listener
    from edgeyolo.training.quantized import QuantizedOptions
    from edgeyolo.training.search.outcome import Outcome
    from edgeyolo.training.sources import Data, DataSource

History = list[dict[str, Any]]

_WITH_RESUME = {"resumed", "epochs", "threads", "tensorboard", "as_json", "search", "engine", "processes"}


@click.command("train")
@click.argument("model", required=False, metavar="MODEL", shell_complete=complete_models)
@with_options(*DATA_OPTIONS)
@click.option("--no-val", is_flag=True, help="Learn without validation.")
@click.option("--weights", help="Start a MODEL called by its name from this file or published name.")
@click.option(
    "--activation",
    type=click.Choice(["silu", "leaky", "relu", "relu6"]),
    help="In place of the network's own; the edge TPU has no leaky.",
)
@with_options(*RUN_OPTIONS)
@click.option("--freeze", multiple=True, metavar="PART", help="Keep a part as it is: stem, backbone, spp ...")
@click.option("--no-autoanchor", is_flag=True, help="Keep anchors that do not suit the objects.")
@click.option("--qat", is_flag=True, help="Fine-tune weights for INT8: learn with its roundings (10 epochs).")
@click.option(
    "--distill",
    type=click.FloatRange(min=0),
    help="--qat: gain of the loss that stays near the float network (default: 0).",
)
@click.option(
    "--calib-images", type=click.IntRange(min=1), help="--qat: images that ranges start from (default: 300)."
)
@click.option(
    "--search",
    type=click.IntRange(min=1),
    metavar="TRIALS",
    help="Search the recipe: so many runs, each with hyper-parameters that follow from those before (Optuna).",
)
@click.option(
    "--space",
    multiple=True,
    metavar="NAME[=LOW:HIGH]",
    help="--search: only these (default: rates, gains and augmentation around the recipe's, without what --set fixes).",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Train here, or by Ray on a cluster (RAY_ADDRESS) or this machine: lost processes are started again.",
)
@click.option(
    "--processes", type=click.IntRange(min=1), help="--engine ray: that train together (default: 1)."
)
@click.option("--tensorboard", is_flag=True, help="Log for `tensorboard --logdir` too.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the run (default: PROJECT/train/exp, exp2 ...).",
)
@click.option(
    "--project", type=click.Path(path_type=Path), default="runs", show_default=True, help="See --output."
)
@click.option(
    "--resume",
    "resumed",
    type=click.Path(path_type=Path),
    help="Go on with the run in this folder.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    model: str | None,
    resumed: Path | None,
    tensorboard: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a network.

    MODEL is a network's name (`edgeyolo models`), to train it from scratch, or a weights file, to go on from it on
    other data: all that fits is taken, and what does not is named. The folder of the run gets
    weights/best.safetensors and weights/last.safetensors, which every other command takes, settings.yaml, results.csv
    and pictures: labels, first batches, losses and AP, what is found, curves and confusion matrix.
    A run that was stopped goes on with --resume; on a CPU it ends with the same bits as one that was not. With a larger
    --epochs one that has ended goes on too.

    \b
    edgeyolo train yolov7-tiny --data data.yaml --imgsz 320 --epochs 100
    edgeyolo train yolov7-tiny --data cells --imgsz 256 --epochs 100 --batch 8 --recipe short
    edgeyolo train yolov7 --data train.json --val-data val.json --batch 32 --amp bf16
    edgeyolo train best.safetensors --data voc --freeze backbone --set lr0=0.001 --set mosaic=0
    edgeyolo train yolov7-tiny-silu --data voc --imgsz 256 --grow-from 128 --set plain_epochs=10
    edgeyolo train best.safetensors --data data.yaml --imgsz 320 --qat --distill 3
    edgeyolo train yolov7-tiny --data data.yaml --epochs 30 --batch auto --search 50
    edgeyolo train yolov7-tiny --data data.yaml --recipe runs/search/exp/best.yaml
    edgeyolo train --resume runs/train/exp
    edgeyolo train --resume runs/train/exp --epochs 200
    edgeyolo train yolov7 --data data.yaml --batch 64 --engine ray --processes 4
    torchrun --no-python --nproc-per-node 4 edgeyolo train yolov7 --data data.yaml --batch 64
    """
    refuse_unfit_for_ray(options)
    if resumed is None:
        refuse_unsearchable(options)
        folder, found = _start(model, options, tensorboard)
    else:
        _refuse_changes(context)
        given = context.get_parameter_source("epochs") == ParameterSource.COMMANDLINE
        epochs = options["epochs"] if given else None
        folder, found = resumed, _resume(resumed, epochs, options, tensorboard)
    if not leads():
        return
    if isinstance(found, list):
        _report(folder, found, as_json)
    else:
        report_search(folder, found, as_json)


def _start(model: str | None, options: dict[str, Any], tensorboard: bool) -> tuple[Path, History | Outcome]:
    """Check all options, then make the folder and train, or search."""
    from edgeyolo.detector import builtin
    from edgeyolo.errors import UsageError
    from edgeyolo.models import specs
    from edgeyolo.training.recipe import QAT, recipe_for
    from edgeyolo.training.run import starting_size, train

    if not model:
        raise UsageError(
            "train needs a MODEL: a network's name or a weights file; or --resume with the folder of a run",
            hint=f"Names: {', '.join(specs.known())}.",
        )
    if builtin.is_builtin(model):
        model = str(builtin.weights_path())
    _refuse_idle_options(options)
    weights = locate_weights(options["weights"]) if options["weights"] else None
    aware = quantized_options(options)
    fresh = model in specs.known() and weights is None
    recipe = run_recipe(options, QAT if aware else recipe_for(model, fine_tuning=not fresh))
    if options["image_size"] is None and not fresh:
        options["image_size"], said = starting_size(weights or model)
        note(said)
    config = run_config(options)
    source = data_source(options, validate=not options["no_val"])
    data = source.load()
    if config.patience and data.validation is None:
        raise UsageError("--patience needs validation data", hint="Name it with --val-data.")
    run: dict[str, Any] = {"config": config, "recipe": recipe}
    activation: Any = {"leaky": "leaky_relu"}.get(options["activation"], options["activation"])
    if options["search"]:
        return begin_search(model, weights, options, source, data, activation=activation, **run)
    if aware is None:
        run |= {"autoanchor": not options["no_autoanchor"], "weights": weights, "activation": activation}
    with run_folder(options["output"], "train", config, options["project"]) as folder:
        if options["engine"] == "ray":
            return folder, begin_by_ray(model, folder, source, options, **run)
        with _listener(folder, source, data, tensorboard) as listener:
            if aware is None:
                history = train(model, data.training, data.validation, folder, listener=listener, **run)
            else:
                history = _fine_tune(model, data, folder, aware, listener=listener, **run)
        return folder, history


def _refuse_idle_options(options: dict[str, Any]) -> None:
    if options["no_val"]:
        refuse_idle(
            {"val_data", "val_split", "val_image_folder", "validate_every", "rect"},
            "settings of validation, which --no-val leaves out",
            hint="Leave out one or the other.",
        )
    if options["output"]:
        refuse_idle(
            {"project"}, "the place of folders that are named for you; -o names one", hint="Leave it out."
        )


def _fine_tune(
    model: str, data: Data, folder: Path, aware: QuantizedOptions, *, listener: Listener, **run: Any
) -> History:
    """Quantization-aware training: the ranges it starts from, then the run."""
    from edgeyolo.training.quantized import train_quantized

    run |= {"options": aware, "listener": listener, "measuring": partial(progress, "measuring ranges")}
    return train_quantized(model, data.training, data.validation, folder, **run)


def _resume(
    folder: Path, epochs: int | None, options: dict[str, Any], tensorboard: bool
) -> History | Outcome:
    from edgeyolo.errors import UsageError
    from edgeyolo.training.loop.trainer import STATE
    from edgeyolo.training.run import resume
    from edgeyolo.training.search.plan import is_search
    from edgeyolo.training.sources import DataSource

    if options["threads"]:
        import torch

        torch.set_num_threads(options["threads"])
    if options["search"] or is_search(folder):
        return resume_search(folder, options["search"])
    if not (folder / STATE).is_file():
        raise UsageError(
            f"{folder}: there is no run to go on with, {STATE} is missing",
            hint="--resume takes the folder of a run, such as runs/train/exp.",
        )
    source = DataSource.read(folder)
    if options["engine"] == "ray":
        return resume_by_ray(folder, source, epochs, options)
    data = source.load()
    with _listener(folder, source, data, tensorboard) as listener:
        return resume(folder, data.training, data.validation, epochs=epochs, listener=listener)


def _refuse_changes(context: click.Context) -> None:
    """A resumed run goes on as it was begun, or it would not be the same run."""
    from edgeyolo.errors import UsageError

    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in _WITH_RESUME
        and context.get_parameter_source(str(parameter.name)) == ParameterSource.COMMANDLINE
        and context.params[str(parameter.name)] is not None
    ]
    if given:
        raise UsageError(
            f"--resume goes on with a run as it was begun; it does not take {', '.join(given)}",
            hint="Leave them out. To train on with other settings, start a new run from weights/last.safetensors.",
        )


@contextmanager
def _listener(folder: Path, source: DataSource, data: Data, tensorboard: bool) -> Iterator[Listener]:
    """Listener of a run in the leading process.

    It shows and keeps account of the run, and says how to go on if it is interrupted.
    """
    from edgeyolo.training.loop.listener import Listener, Listeners, TensorBoardListener
    from edgeyolo.training.loop.trainer import STATE
    from edgeyolo.training.report.pages import PageListener
    from edgeyolo.training.report.progress import ProgressListener
    from edgeyolo.training.report.settings import SettingsListener
    from edgeyolo.training.sources import SourceListener

    if not leads():
        yield Listener()
        return
    for line in data.notes:
        note(line)
    shown = ProgressListener()
    kept = (SourceListener(folder, source), SettingsListener(folder, source))
    listeners = [shown, *kept, PageListener(folder, data.training.class_names)]
    if tensorboard:
        listeners.append(TensorBoardListener(folder))
    with resumable(f"edgeyolo train --resume {shlex.quote(str(folder))}", folder / STATE):
        try:
            yield Listeners(listeners)
        except BaseException:  # a run that ends well gives the terminal back by itself
            shown.close()
            raise


def _report(folder: Path, history: History, as_json: bool) -> None:
    from edgeyolo.training.loop.history import best_row
    from edgeyolo.training.loop.trainer import BEST, LAST

    last, best = history[-1], best_row(history)
    rows = [("best", best or last, folder / BEST), ("last", last, folder / LAST)]
    if as_json:
        files = {name: str(path) for name, _, path in rows}
        scores = {name: (best or last).get(name) for name in ("AP", "AP50")}
        print_json(
            {
                "folder": str(folder),
                **files,
                "best_epoch": (best or last)["epoch"],
                **scores,
                "epochs": history,
            }
        )
        return
    columns = ("weights", "epoch", "box", "obj", "cls", "AP", "AP50", "file")
    print_table(columns, [
        (name, row["epoch"] + 1, *(_number(row.get(key)) for key in columns[2:-1]), str(path))
        for name, row, path in rows
    ])  # fmt: skip
    note(f"Next: edgeyolo export {shlex.quote(str(folder / BEST))} --target cpu-onnx-fp32")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
