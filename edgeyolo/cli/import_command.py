"""Command `edgeyolo import`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeyolo.cli.console import json_option, note, print_json, say
from edgeyolo.cli.options import locate_weights


@click.command("import")
@click.argument("file")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Where to write (default: FILE.safetensors here)."
)
@click.option("--half", is_flag=True, help="Store the weights as fp16: half the size.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@json_option
def command(file: str, output: Path | None, half: bool, overwrite: bool, as_json: bool) -> None:
    """Read a checkpoint without running anything in it, and write safetensors.

    FILE is a published or trained .pt, a plain state dict, safetensors, or a published name. Architecture, classes,
    anchors and form are found in the file itself.

    \b
    edgeyolo import yolov7.pt
    edgeyolo import runs/train/exp/weights/best.pt -o cells.safetensors
    edgeyolo import yolov7-tiny
    """
    from edgeyolo.errors import UsageError
    from edgeyolo.models.importer import import_checkpoint
    from edgeyolo.models.weights import save
    from edgeyolo.support.files import require_writable

    path = locate_weights(file)
    output = output or Path(path.with_suffix(".safetensors").name)
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists", hint="Give another -o, or --overwrite.")
    require_writable(output.absolute().parent)
    imported = import_checkpoint(path)
    save(
        output, imported.network, imported.class_names, imported.provenance, half=half, ranges=imported.ranges
    )
    if as_json:
        print_json(imported.summary() | {"output": str(output)})
        return
    for line in imported.lines():
        say(line)
    note(f"wrote {output}")
