"""Options that `train` and `ablate` share, and their values.

The values are those of the training package that they stand for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from edgeyolo.cli.console import note
from edgeyolo.cli.idle_options import given_options, refuse_idle
from edgeyolo.cli.options import AutoBatch

if TYPE_CHECKING:
    from edgeyolo.training.config import TrainConfig
    from edgeyolo.training.quantized import QuantizedOptions
    from edgeyolo.training.recipe import Recipe
    from edgeyolo.training.sources import DataSource

_Command = TypeVar("_Command", bound=Callable[..., Any])
_COUNT = click.IntRange(min=1)

# What a run is told to try where its rate was made for the other optimiser.
UNFIT_FOR_QAT = ("weights", "freeze", "activation", "no_autoanchor")
_RATES = {"sgd": "0.01", "adamw": "0.001"}

DATA_OPTIONS = (
    click.option("--data", help="COCO json, YOLO data.yaml or a Pascal VOC folder."),
    click.option("--split", default="train", show_default=True, help="Which part of it to learn from."),
    click.option("--val-data", help="Data to validate on (default: --data)."),
    click.option("--val-split", help="Which part of that (default: val, else test)."),
    click.option("--image-folder", help="Where a COCO json's images are, if not beside it."),
    click.option("--val-image-folder", help="The same for the json of --val-data."),
)
RUN_OPTIONS = (
    click.option(
        "--imgsz", "--img-size", "image_size", type=_COUNT, metavar="PIXELS",
        help="Side of the square pictures (default: the one that the weights were trained at; of none, 640).",
    ),
    click.option(
        "--grow-from", "first_size", type=_COUNT, default=None, metavar="PIXELS",
        help="Let the pictures grow from this side to --imgsz over the run: early epochs cost less. "
        "Costs AP where all objects have one size.",
    ),
    click.option("--epochs", type=_COUNT, default=300, show_default=True),
    click.option(
        "--batch", "--batch-size", "batch_size", type=AutoBatch(), default=16, show_default=True,
        help="Images an iteration, all processes together, or auto: as many as memory takes. Gradients add up to the "
        "recipe's nominal batch.",
    ),
    click.option(
        "--recipe", metavar="NAME|YAML",
        help="p5, p6, tiny, custom, short (from scratch in few steps) or a file (default: the network's).",
    ),
    click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change the recipe: box=0.05."),
    click.option("--optimizer", type=click.Choice(["sgd", "adamw"]), help="In place of the recipe's."),
    click.option("--device", help="cpu, mps or the number of a GPU (default: the first GPU, else cpu)."),
    click.option(
        "--amp", "precision", type=click.Choice(["bf16", "fp16", "none"]),
        help="Precision of the forward pass (default: bf16 or fp16 on a GPU, bf16 on a CPU that has it, else none).",
    ),
    click.option(
        "--compile", is_flag=True,
        help="torch.compile the network: the first steps take minutes, the others less. Needs a compiler.",
    ),
    click.option("--workers", type=click.IntRange(min=0), help="Processes that load data (default: 0 on a CPU)."),
    click.option(
        "--cache", type=click.Choice(["none", "encoded", "pixels"]), default="none", show_default=True,
        help="Keep files' bytes, or decoded pictures, in memory.",
    ),
    click.option("--patience", type=click.IntRange(min=0), default=0, help="Stop after so many epochs without a gain."),
    click.option("--val-every", "validate_every", type=_COUNT, default=1, show_default=True, help="Epochs."),
    click.option("--rect", is_flag=True, help="Validate in rectangular batches."),
    click.option(
        "--rect-train", is_flag=True, help="Learn in rectangular batches of like pictures, without mosaics."
    ),
    click.option("--multi-scale", is_flag=True, help="Image sizes from 0.5 to 1.5 of --imgsz."),
    click.option(
        "--albumentations", type=click.Path(exists=True, dir_okay=False, resolve_path=True), metavar="FILE",
        help="A pipeline, JSON or YAML as albumentations.save writes it, for every picture.",
    ),
    click.option("--image-weights", is_flag=True, help="Draw pictures of weak classes more often."),
    click.option("--class-aware", is_flag=True, help="Draw a class first, all alike, then one of its pictures."),
    click.option("--clip", type=click.FloatRange(min=0), default=0.0, help="Largest norm of the gradient (--qat: 10)."),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
    click.option("--threads", type=_COUNT, help="Threads of the computation on a CPU."),
)  # fmt: skip


def with_options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Decorator that applies several options in the order of the help."""

    def decorate(function: _Command) -> _Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def leads() -> bool:
    """Return True in the one process that speaks.

    It is one of those that torchrun started.
    """
    return os.environ.get("RANK", "0") == "0"


def data_source(options: dict[str, Any], *, validate: bool = True) -> DataSource:
    """Data source of DATA_OPTIONS.

    `--split all` is every image of a VOC folder that has no lists.
    """
    from edgeyolo.datasets.load import require_its_split
    from edgeyolo.errors import UsageError
    from edgeyolo.training.sources import DataSource

    if not options["data"]:
        raise UsageError(
            "--data is missing: a COCO json, a YOLO data.yaml or a Pascal VOC folder",
            hint="For example --data coco.yaml, or --data train.json --val-data val.json",
        )
    alone = Path(options["data"]).suffix.lower() == ".json"
    if alone and options["split"] != "all" and given_options({"split"}):  # the default names no part of it
        require_its_split(Path(options["data"]), options["split"])
    if alone and not options["val_data"]:
        refuse_idle(
            {"val_split", "val_image_folder"},
            f"{options['data']} is one split by itself, so nothing of it is left to validate on",
            hint="Name the json of the validation images: --val-data val.json",
        )
    return DataSource(
        options["data"],
        None if options["split"] == "all" else options["split"],
        options["val_data"],
        options["val_split"],
        options["image_folder"],
        options["val_image_folder"],
        validate,
    )


def run_config(options: dict[str, Any]) -> TrainConfig:
    """Training configuration of RUN_OPTIONS.

    Its device is found and its precision chosen.
    """
    import torch

    from edgeyolo.training.config import TrainConfig
    from edgeyolo.training.devices import default_precision, find_device, multiplies_bfloat16

    known = {field.name for field in fields(TrainConfig)}
    values = {name: value for name, value in options.items() if name in known and value is not None}
    device = find_device(options["device"])
    values["device"] = device
    # On a CPU the roundings of quantization-aware training were only ever learned in float32.
    usual = "fp32" if device == "cpu" and options.get("qat") else default_precision(device)
    values["precision"] = values.get("precision", usual).replace("none", "fp32")
    if device != "cpu":
        values.setdefault("workers", min(os.cpu_count() or 1, 8))
    elif values["precision"] == "bf16" and not multiplies_bfloat16():
        note(
            "--amp bf16: this processor has no instructions for bfloat16; --amp none is about ten times as fast"
        )
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    return TrainConfig(**values)


def run_recipe(options: dict[str, Any], default: Recipe) -> Recipe:
    """The recipe of --recipe, else `default`, changed by every --set."""
    from edgeyolo.training.recipe import change, change_by_text, find_recipe, read_recipe

    name, recipe = options["recipe"], default
    if name and Path(name).suffix.lower() in (".yaml", ".yml"):
        recipe = read_recipe(name, default)
    elif name:
        recipe = find_recipe(name)
    changed = change_by_text(recipe, options["settings"])
    wanted = options["optimizer"]
    if not wanted or wanted == changed.optimizer:
        return changed
    if changed.lr0 == recipe.lr0:
        note(
            f"lr0={recipe.lr0:g} is {changed.optimizer}'s; {wanted} takes about {_RATES[wanted]}: --set lr0=..."
        )
    return change(changed, {"optimizer": wanted})


def quantized_options(options: dict[str, Any]) -> QuantizedOptions | None:
    """Options of --qat; None for ordinary training.

    Changes the number of epochs where none was given.
    """
    from edgeyolo.errors import UsageError
    from edgeyolo.training.quantized import EPOCHS, QuantizedOptions

    context = click.get_current_context()
    given = {name: options[name] for name in ("distill", "calib_images") if options[name] is not None}
    if not options["qat"]:
        if given:
            names = ", ".join("--" + name.replace("_", "-") for name in given)
            raise UsageError(f"{names}: only for quantization-aware training", hint="Add --qat.")
        return None
    unfit = [f"--{name.replace('_', '-')}" for name in UNFIT_FOR_QAT if options[name]]
    if unfit:
        raise UsageError(
            f"--qat goes on from a whole weights file as it is: {', '.join(unfit)} cannot be had with it",
            hint="Name the file as MODEL; for another activation, train without --qat first.",
        )
    if context.get_parameter_source("epochs") != ParameterSource.COMMANDLINE:
        options["epochs"] = EPOCHS
    default = QuantizedOptions()
    return QuantizedOptions(given.get("calib_images", default.images), given.get("distill", default.distill))


@contextmanager
def run_folder(
    output: Path | None, mode: str, config: TrainConfig, project: Path = Path("runs")
) -> Iterator[Path]:
    """The folder of a run, the same for all processes.

    `output`, else a new one. It is not left behind empty.
    """
    from edgeyolo.cli.result_files import result_folder
    from edgeyolo.training.loop.processes import join_processes

    processes = join_processes(config.device, config.batch_size)
    with result_folder(output, mode, project) if processes.leads else nullcontext() as made:
        folder: Path = processes.share(made)
        yield folder


@contextmanager
def resumable(command: str, state: Path) -> Iterator[None]:
    """Tell how to resume a run that was interrupted.

    Or one whose disk is full, closed or gone. It is by `command`, if its `state` was saved.
    """
    from edgeyolo.errors import EdgeYoloError
    from edgeyolo.support.system_errors import SYSTEM_HINTS, explain_system_error

    try:
        yield
    except KeyboardInterrupt:
        if state.exists():
            note(f"stopped; the state is saved. Go on with: {command}")
        raise
    except Exception as error:
        known = error if isinstance(error, EdgeYoloError) else explain_system_error(error)
        if known is not None and known.hint in SYSTEM_HINTS and state.exists():
            note(f"the last state that was written is whole. When that is mended, go on with: {command}")
        raise
