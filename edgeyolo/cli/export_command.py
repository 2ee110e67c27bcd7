"""`edgeyolo export`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeyolo.cli.console import json_option, print_json, print_table, steps
from edgeyolo.cli.options import Batch, imgsz_option, locate_weights


@click.command("export")
@click.argument("weights")
@click.option("--target", required=True, help="Where it will run; `edgeyolo targets` lists them.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Directory to make (default: WEIGHTS-TARGET)."
)
@imgsz_option
@click.option("--batch", type=Batch(), default=1, show_default=True, help="Images at a time, or `dynamic`.")
@click.option(
    "--images", type=click.Path(exists=True), help="Photographs for the parity check (default: generated)."
)
@click.option("--calib", help="Images for INT8 targets: a folder or a labelled data set.")
@click.option("--calib-images", default=300, show_default=True, help="How many of them.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@json_option
def command(
    weights: str, target: str, output: Path | None, size: tuple[int, int] | None, batch: int | None,
    images: str | None, calib: str | None, calib_images: int, overwrite: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make an artifact for a target and check it against torch.

    Outside its parity budget the export fails with exit code 4 and leaves nothing behind.

    \b
    edgeyolo export yolov7-tiny.safetensors --target cpu-onnx-fp32 -o tiny-onnx
    edgeyolo export best.pt --target cpu-onnx-fp32 --imgsz 384x640 --batch dynamic
    """
    from edgeyolo.export import ExportOptions, export
    from edgeyolo.images import list_images
    from edgeyolo.registry import open_calibration

    path = locate_weights(weights)
    photographs = tuple(list_images(images))[:32] if images else ()
    options = ExportOptions(
        size=size,
        batch=batch or 1,
        dynamic_batch=batch is None,
        images=photographs,
        calibration=open_calibration(calib, images=calib_images) if calib else None,
        overwrite=overwrite,
    )
    with steps() as step:
        artifact = export(path, target, output or Path(f"{path.stem}-{target}"), options, step=step)
    manifest, parity = artifact.manifest, artifact.manifest.parity
    assert parity is not None  # a sealed export always carries it
    if as_json:
        facts = {"artifact": str(artifact.path), "sha256": artifact.sha256, "bytes": artifact.size}
        print_json(facts | {"parity": parity.worst, "tolerance": parity.tolerance, "target": target})
        return
    height, width = manifest.input.size
    rows = [(str(artifact.path), target, f"{height}x{width}", f"{artifact.size / 1e6:.1f} MB",
             f"{parity.worst:.1e} of {parity.tolerance:g} allowed")]  # fmt: skip
    print_table(("artifact", "target", "input", "size", "deviation from torch"), rows)
