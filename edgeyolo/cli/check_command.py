"""Command `edgeyolo check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeyolo.cli.completion import complete_models
from edgeyolo.cli.console import json_option, note, print_json, print_table, steps
from edgeyolo.cli.nms_options import nms_options
from edgeyolo.cli.options import Batch, imgsz_option, targets_option

if TYPE_CHECKING:
    from edgeyolo.export.check import Check
    from edgeyolo.runtime.postprocess_config import PostprocessConfig


@click.command("check")
@click.argument("weights", shell_complete=complete_models)
@targets_option
@imgsz_option
@click.option("--batch", type=Batch(), default=1, show_default=True, help="Images at a time, or `dynamic`.")
@click.option("--opset", type=click.IntRange(min=1), help="ONNX opset (default: the target's own).")
@nms_options
@click.option("--runtime", metavar="VERSION", help="The runtime's version on the device, such as 10.3.")
@json_option
def command(
    weights: str, targets: tuple[str, ...], size: tuple[int, int] | None, batch: int | None,
    opset: int | None, nms: PostprocessConfig | None, runtime: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Say whether targets can take a network, before anything is built.

    It also says where the network's operators would run.

    WEIGHTS is a weights file, or a network's name (`edgeyolo models`), which needs no weights. Neither the target's
    toolchain nor the device is needed. Exit code 5 where a target cannot take the network.

    \b
    edgeyolo check yolov7-tiny --target edgetpu-tflite-int8
    edgeyolo check best.pt --target jetson-trt-fp16,ncs-openvino-fp16 --imgsz 384x640
    edgeyolo check best.pt --target v100-trt-fp16 --runtime 10.7
    edgeyolo check best.pt --target cpu-onnx-fp32,gpu-trt-fp16 --nms graph
    edgeyolo check best.pt --target all --json
    """
    from edgeyolo.cli.options import split_targets
    from edgeyolo.errors import UnsupportedTargetError
    from edgeyolo.export import ExportOptions
    from edgeyolo.export.dry_run import check_weights

    options = ExportOptions(size=size, batch=batch or 1, dynamic_batch=batch is None, opset=opset, nms=nms)
    with steps() as step:
        checks = check_weights(weights, split_targets(targets), options, runtime=runtime, step=step)
    if as_json:
        found = [check.to_json() for check in checks]
        print_json(found if len(found) > 1 else found[0])
    elif len(checks) == 1:
        print_places(checks[0])
        print_verdict(checks[0])
    else:
        print_table(("target", "", "on the accelerator", "elsewhere"), [_row(check) for check in checks])
        for check in checks:
            for finding in check.misfits:
                note(f"{check.target}: {finding.sentence}. {finding.hint}".rstrip())
    if checks[0].remark and not as_json:
        note(checks[0].remark)
    if not all(check.fits for check in checks):
        click.get_current_context().exit(UnsupportedTargetError.exit_code)


def print_places(check: Check) -> None:
    """Print where the operators of a network would run."""
    print_table(
        ("operator", "count", "runs on", "why not on the accelerator"),
        [(place.operator, place.count, place.where, place.reason) for place in check.places],
    )


def print_verdict(check: Check) -> None:
    """Print the verdict on a target, and what else is known."""
    height, width = check.input.size
    taken = f"{check.share:.0%} of its operators on {check.accelerator}"
    verdict = f"takes this network at {height}x{width}, {taken}"
    note(
        f"{check.target} {verdict}"
        if check.fits
        else f"{check.target} cannot take this network at {height}x{width}:"
    )
    for finding in check.misfits:
        note(f"  {finding.sentence}" + (f"\n    {finding.hint}" if finding.hint else ""))
    for text in check.notes:
        note(f"  note: {text}")
    for name, source in check.sources.items():
        note(f"  [{name}] {source}")


def _row(check: Check) -> tuple[str, ...]:
    elsewhere = [
        f"{place.count} {place.operator} on {place.where}"
        if place.where != "folded"
        else f"{place.count} folded"
        for place in check.places
        if place.where != check.accelerator
    ]
    shown = "; ".join(elsewhere[:3]) + (f" and {len(elsewhere) - 3} more" if len(elsewhere) > 3 else "")
    verdict = "fits" if check.fits else "cannot"
    return str(check.target), verdict, f"{check.share:.0%} on {check.accelerator}", shown
