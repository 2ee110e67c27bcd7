"""Command `edgeyolo predict`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import click

from edgeyolo.cli.completion import complete_models
from edgeyolo.cli.console import json_option, note, print_json, progress
from edgeyolo.cli.options import (
    classes_option,
    conf_option,
    device_option,
    imgsz_option,
    iou_option,
    max_det_option,
    opened_model,
    target_option,
)

if TYPE_CHECKING:
    from edgeyolo.predict.run import Progress

_LINE_S = 30.0  # between lines of progress where there is no terminal


@click.command("predict")
@click.argument("model", shell_complete=complete_models)
@click.argument("source", metavar="FOLDER|LIST|PARQUET")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="OUT.parquet, or OUT.json (COCO)."
)
@click.option("--workers", type=int, help="Processes (default: one a core on CPUs, one on other devices).")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Processes here, or actors of Ray (RAY_ADDRESS, else a cluster of this machine).",
)
@click.option(
    "--shard",
    type=int,
    help="Images that are written at a time (default: up to 128, as many for each process).",
)
@imgsz_option
@target_option
@device_option
@conf_option
@iou_option
@classes_option
@max_det_option
@click.option("--overwrite", is_flag=True, help="Begin anew, whatever is there.")
@json_option
def command(
    model: str, source: str, output: Path, workers: int | None, engine: str, shard: int | None,
    size: tuple[int, int] | None,
    target: str | None, device: str | None, conf: float | None, iou: float | None, classes: tuple[str, ...],
    max_det: int | None, overwrite: bool, as_json: bool,
) -> None:  # fmt: skip
    """Detect in as many images as there are; go on where it was interrupted.

    SOURCE is a folder (with folders below), a .txt list of images, or a Parquet table with a column `image`. The output
    has one row an image: image, height, width, boxes, confidence, class_id, name, error, model; an image that cannot
    be read is a row with an error. What is done stands in OUT.shards until all is: killed at any moment and started
    again with the same words, each image is in the output once.

    \b
    edgeyolo predict cells-onnx photos -o cells.parquet
    edgeyolo predict cells-onnx list.txt -o cells.json --workers 4
    edgeyolo predict cells-onnx table.parquet -o cells.parquet --engine ray --workers 16
    """
    from edgeyolo.detector.detector import resolve_classes, split_classes
    from edgeyolo.predict.run import Options, predict

    artifact = opened_model(model, size=size, target=target, device=device).artifact
    names = artifact.manifest.class_names
    chosen = list(resolve_classes(split_classes(classes, names), names)) if classes else None
    arguments = {"conf": conf, "iou": iou, "classes": chosen, "max_det": max_det}
    options = Options(arguments, device, workers, engine, shard, overwrite=overwrite)
    with reporter() as report:
        done = predict(artifact, source, output, options, progress=report, tell=note)
    if as_json:
        print_json({"output": str(output), "images": done.images, "failed": done.failed})
        return
    note(f"{done.images} images in {output}" + (f", {done.failed} with an error" if done.failed else ""))


@contextmanager
def reporter() -> Iterator[Callable[[Progress], None]]:
    """Progress on standard error: a bar on a terminal, else a line now and then."""
    said = monotonic()

    def report(at: Progress) -> None:
        nonlocal said
        advance(at.done, at.total)
        if not sys.stderr.isatty() and monotonic() - said >= _LINE_S:
            said = monotonic()
            note(progress_text(at))

    with progress("predicting", unit="images") as advance:
        yield report


def progress_text(at: Progress) -> str:
    """Text such as `1200 of 10000 images, 34.5 images/s, 4:15 left`."""
    text = f"{at.done} of {at.total} images"
    if at.left_s is None:
        return text
    minutes, seconds = divmod(round(at.left_s), 60)
    hours, minutes = divmod(minutes, 60)
    left = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    return f"{text}, {at.rate:.1f} images/s, {left} left"
