"""Command `edgeyolo import`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeyolo.cli.console import json_option, note, print_json, say
from edgeyolo.cli.idle_options import refuse_lone_split
from edgeyolo.cli.options import locate_weights


@click.command("import")
@click.argument("file")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Where to write (default: FILE.safetensors here)."
)
@click.option("--half", is_flag=True, help="Store the weights as fp16: half the size.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@click.option(
    "--data", help="Labelled images; for MultimediaTechLab/YOLO's v7.pt, whose graph is tried both ways."
)
@click.option("--split", help="Which part of the data (default: val, else test).")
@json_option
def command(
    file: str, output: Path | None, half: bool, overwrite: bool, data: str | None, split: str | None, as_json: bool
) -> None:  # fmt: skip
    """Read a checkpoint without running anything in it, and write safetensors.

    FILE is a published or trained .pt, a plain state dict, safetensors, or a published name. Architecture, classes,
    anchors and form are found in the file itself.

    \b
    edgeyolo import yolov7.pt
    edgeyolo import runs/train/exp/weights/best.pt -o cells.safetensors
    edgeyolo import yolov7-tiny
    edgeyolo import yolov7-mit --data coco/instances_val2017.json
    """
    from edgeyolo.datasets import load_dataset
    from edgeyolo.errors import UsageError
    from edgeyolo.models.importer import import_checkpoint
    from edgeyolo.models.weights import save
    from edgeyolo.support.files import require_writable

    refuse_lone_split(data)
    path = locate_weights(file)
    output = output or Path(path.with_suffix(".safetensors").name)
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists", hint="Give another -o, or --overwrite.")
    require_writable(output.absolute().parent)
    dataset = load_dataset(data, split=split) if data else None
    imported = import_checkpoint(path)
    if dataset is not None:
        from edgeyolo.detector.lateral import choose_lateral

        imported = choose_lateral(imported, dataset).imported
    save(
        output, imported.network, imported.class_names, imported.provenance, half=half, ranges=imported.ranges,
        size=imported.size,
    )  # fmt: skip
    if as_json:
        print_json(imported.summary() | {"output": str(output)})
        return
    for line in imported.lines():
        say(line)
    note(f"wrote {output}")
