"""`edgeyolo export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeyolo.cli.console import json_option, note, print_json, print_table, steps
from edgeyolo.cli.options import Batch, imgsz_option, locate_weights

if TYPE_CHECKING:
    from edgeyolo.artifact import Artifact


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
@click.option("--data", help="Labelled images: AP is measured before and after, and guards the export.")
@click.option("--split", help="Which part of --data.")
@click.option(
    "--max-ap-drop",
    default=1.0,
    show_default=True,
    help="AP points that may be lost on --data.",
    metavar="POINTS",
)
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@json_option
def command(
    weights: str, target: str, output: Path | None, size: tuple[int, int] | None, batch: int | None,
    images: str | None, calib: str | None, calib_images: int, data: str | None, split: str | None, max_ap_drop: float,
    overwrite: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make an artifact for a target and check it against torch.

    Outside its parity budget, or where it loses too much AP on --data, the export fails with exit code 4 and leaves
    nothing behind. Without --data an INT8 export is judged by the detections that agree with torch's.

    \b
    edgeyolo export yolov7-tiny.safetensors --target cpu-onnx-fp32 -o tiny-onnx
    edgeyolo export best.pt --target cpu-onnx-fp32 --imgsz 384x640 --batch dynamic
    edgeyolo export best.pt --target cpu-openvino-int8 --calib data.yaml --data data.yaml --split val
    """
    from edgeyolo.export import ExportOptions, export
    from edgeyolo.images import list_images
    from edgeyolo.registry import open_calibration

    path = locate_weights(weights)
    photographs = tuple(list_images(images))[:32] if images else ()
    judged = None
    if data:
        from edgeyolo.datasets import load_dataset

        judged = load_dataset(data, split=split)
    options = ExportOptions(
        size=size,
        batch=batch or 1,
        dynamic_batch=batch is None,
        images=photographs,
        calibration=open_calibration(calib, images=calib_images, evaluation=judged) if calib else None,
        data=judged,
        max_ap_drop=max_ap_drop,
        overwrite=overwrite,
    )
    with steps() as step:
        artifact = export(path, target, output or Path(f"{path.stem}-{target}"), options, step=step)
    _print(artifact, as_json)


def _print(artifact: Artifact, as_json: bool) -> None:
    """The artifact's row, and what judged it."""
    manifest = artifact.manifest
    parity, accuracy, target = manifest.parity, manifest.accuracy, str(manifest.target)
    assert parity is not None  # a sealed export always carries it
    if as_json:
        facts = {"artifact": str(artifact.path), "sha256": artifact.sha256, "bytes": artifact.size}
        facts |= {"parity": parity.worst, "tolerance": parity.tolerance, "target": target}
        agree = {"agreement": parity.agreement, "detections": parity.detections}
        print_json(facts | agree | {"accuracy": asdict(accuracy) if accuracy else None})
        return
    height, width = manifest.input.size
    rows = [(str(artifact.path), target, f"{height}x{width}", f"{artifact.size / 1e6:.1f} MB",
             f"{parity.worst:.1e} of {parity.tolerance:g} allowed")]  # fmt: skip
    print_table(("artifact", "target", "input", "size", "deviation from torch"), rows)
    if accuracy:
        low, high = accuracy.interval
        note(
            f"AP {100 * accuracy.reference:.2f} -> {100 * accuracy.measured:.2f} on {accuracy.images} images of "
            f"{accuracy.data}: {accuracy.lost:.2f} points lost ({accuracy.confidence:.0%}: {low:.2f} to {high:.2f}), "
            f"{accuracy.allowed:g} allowed"
        )
    elif manifest.target.precision == "int8" and parity.agreement is not None:
        note(
            f"judged by {parity.agreement:.1%} of {parity.detections} detections that agree with torch's; --data DATA "
            "measures the AP that is lost"
        )
