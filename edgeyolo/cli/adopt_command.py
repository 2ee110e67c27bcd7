"""Command `edgeyolo adopt`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeyolo.cli.console import json_option, note, print_json, say
from edgeyolo.cli.idle_options import refuse_idle


@click.command("adopt")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--spec", type=click.Path(path_type=Path), help="What the file takes and gives (JSON).")
@click.option("--template", is_flag=True, help="Print a spec to fill in, with what the file itself tells.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory to make.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@json_option
def command(
    file: Path, spec: Path | None, template: bool, output: Path | None, overwrite: bool, as_json: bool
) -> None:
    """Make an artifact of a file that another tool made.

    It may be .onnx, .xml, .tflite, .mlpackage, .engine.

    The file is run once on a generated picture: what it takes and gives must be what the spec says. How far it is from
    the network that it was made of is not known here; `edgeyolo val` measures its AP.

    Outputs that are known: raw maps (YOLOv7); decoded boxes (n, boxes, 5 + classes) of YOLOv5 and v7 and (n, 4 +
    classes, boxes) of YOLOv8, v9 and v11; ranked boxes (n, 300, 6) of YOLOv10; EfficientNMS's detections. Class names
    come from the file where its exporter left them there.

    \b
    edgeyolo adopt model.onnx --template > spec.json
    edgeyolo adopt model.onnx --spec spec.json -o model-onnx
    """
    from edgeyolo.detector import adopt as adoption
    from edgeyolo.errors import UsageError

    if template:
        refuse_idle(
            {"spec", "output", "overwrite"},
            "for an artifact, and --template makes none",
            hint="Leave out --template.",
        )
        sentences, blank = adoption.template(file)
        for sentence in sentences:
            note(f"{file}: {sentence}")
        print_json(blank)
        return
    stated = adoption.require_spec(file, spec)
    if output is None:
        raise UsageError(
            "adopt needs a directory to make", hint=f"edgeyolo adopt {file} --spec {spec} -o DIR"
        )
    artifact = adoption.adopt(file, stated, output, overwrite=overwrite)
    manifest = artifact.manifest
    if as_json:
        print_json(
            {"artifact": str(artifact.path), "sha256": artifact.sha256, "target": str(manifest.target)}
        )
        return
    height, width = manifest.input.size
    say(
        f"{artifact.path}: {file.name} for {manifest.target}, {height}x{width}, {len(manifest.class_names)} classes"
    )
