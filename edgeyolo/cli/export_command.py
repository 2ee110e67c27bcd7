"""Command `edgeyolo export`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgeyolo.cli.completion import complete_models
from edgeyolo.cli.console import json_option, note, print_json, print_table, steps
from edgeyolo.cli.idle_options import refuse_idle, refuse_lone_split
from edgeyolo.cli.nms_options import nms_options
from edgeyolo.cli.options import Batch, imgsz_option, locate_weights, split_targets, targets_option
from edgeyolo.cli.quantizer_options import calibration_sample, quantizer_choices, quantizer_options

if TYPE_CHECKING:
    from edgeyolo.artifact.artifact import Artifact
    from edgeyolo.artifact.manifest import Manifest
    from edgeyolo.backend.interface import CalibrationSource
    from edgeyolo.datasets import Dataset
    from edgeyolo.errors import EdgeYoloError
    from edgeyolo.runtime.postprocess_config import PostprocessConfig

Done = TypeVar("Done")


@click.command("export")
@click.argument("weights", shell_complete=complete_models)
@targets_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Directory to make (default: WEIGHTS-TARGET); with several targets, the folder for theirs.",
)
@imgsz_option
@click.option("--batch", type=Batch(), default=1, show_default=True, help="Images at a time, or `dynamic`.")
@click.option(
    "--max-batch", type=click.IntRange(2, 4096), default=32, show_default=True, help="How far `dynamic` goes."
)
@click.option(
    "--images", type=click.Path(exists=True), help="For the parity check (default: of --data, or --calib)."
)
@click.option("--calib", help="Images for INT8 targets: a folder or a labelled data set.")
@calibration_sample
@click.option(
    "--ranges",
    help="What `edgeyolo calibrate` measured (ranges.json): it takes the place of --calib; beside "
    "--calib, for targets with a quantizer of their own, it says which layers stay in float.",
)
@click.option("--data", help="Labelled images: AP is measured before and after, and guards the export.")
@click.option("--split", help="Which part of --data.")
@click.option(
    "--max-ap-drop", default=1.0, show_default=True, metavar="POINTS",
    help="AP points that may be lost on --data.",
)  # fmt: skip
@click.option(
    "--ap-budget",
    type=click.FloatRange(0, 100),
    help="Leave the fewest layers in float that lose at most so many AP points on --data.",
    metavar="POINTS",
)
@click.option(
    "--refine",
    is_flag=True,
    help="INT8: equalize channels, correct biases and round weights by the --calib images, each where it pays.",
)
@click.option(
    "--input",
    "input_form",
    type=click.Choice(["float", "uint8"]),
    help="What the file takes: uint8 BGR pictures, prepared in the graph, or float planes (default: the faster).",
)
@nms_options
@click.option("--half", is_flag=True, help="Float16: the fp16 target of the same device and runtime.")
@click.option("--opset", type=click.IntRange(min=1), help="ONNX opset (default: the target's own).")
@click.option("--soc", metavar="CHIP", help="The chip to compile for, such as sm8550 (hexagon-* targets).")
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@quantizer_choices
@click.option(
    "--unjudged", is_flag=True, help="Export though too few detections can judge it; the manifest says so."
)
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@json_option
def command(
    weights: str, targets: tuple[str, ...], output: Path | None, size: tuple[int, int] | None, batch: int | None,
    max_batch: int, images: str | None, calib: str | None, calib_images: int, calib_seed: int, ranges: str | None,
    data: str | None, split: str | None, max_ap_drop: float, ap_budget: float | None, refine: bool,
    input_form: str | None,
    nms: PostprocessConfig | None, half: bool, opset: int | None, soc: str | None, dry_run: bool, unjudged: bool,
    overwrite: bool, as_json: bool, **asked: Any,
) -> None:  # fmt: skip
    """Make artifacts for one target or several, and check them against torch.

    Outside its parity budget, or where it loses too much AP on --data, the export fails with exit code 4 and leaves
    nothing behind. Without --data an INT8 export is judged by the detections that agree with torch's; where there are
    fewer than ten, it fails too. Of several
    targets, one that fails costs the others nothing; the exit code is then the largest of theirs.

    \b
    edgeyolo export yolov7-tiny.safetensors --target cpu-onnx-fp32 -o tiny-onnx
    edgeyolo export best.pt --target cpu-onnx-fp32 --imgsz 384x640 --batch dynamic
    edgeyolo export best.pt --target cpu-openvino-int8 --calib data.yaml --data data.yaml --split val
    edgeyolo export best.pt --target cpu-openvino-fp32 --nms graph --conf 0.3 --max-det 100
    edgeyolo export best.pt --target cpu-onnx-fp32,jetson-trt-fp16 -o artifacts
    """
    from edgeyolo.export import ExportOptions, export
    from edgeyolo.runtime.images import find_images

    names = split_targets(targets, half=half)
    _refuse_idle_options(names, data=data, calib=calib, dynamic=batch is None)
    path = locate_weights(weights)
    found = find_images(images) if images else None
    for line in found.sentences() if found else ():
        note(f"left out: {line}")
    photographs = tuple(found.files[:32]) if found else ()
    judged = None
    if data:
        from edgeyolo.datasets import load_dataset

        judged = load_dataset(data, split=split)
    options = ExportOptions(
        size=size,
        batch=batch or 1,
        dynamic_batch=batch is None,
        max_batch=max_batch,
        images=photographs,
        calibration=_calibration(calib, (calib_images, calib_seed), ranges, judged),
        data=judged,
        max_ap_drop=max_ap_drop,
        ap_budget=ap_budget,
        refine=refine,
        quantizer=quantizer_options(asked),
        overwrite=overwrite,
        nms=nms,
        input=input_form,
        opset=opset,
        soc=soc,
        unjudged=unjudged,
    )
    if len(names) == 1:
        places = {names[0]: output or Path(f"{path.stem}-{names[0]}")}
    else:
        places = {name: output / name if output else Path(f"{path.stem}-{name}") for name in names}
    if dry_run:
        from edgeyolo.cli.dry_run import say_plans
        from edgeyolo.export.dry_run import plan_export

        planned, failed = for_each(
            places, lambda target, place, step: plan_export(path, target, place, options, step=step)
        )
        say_plans(planned, failed, as_json)
    else:
        from edgeyolo.export.shared import Shared

        shared = Shared()
        made, failed = for_each(
            places, lambda target, place, step: export(path, target, place, options, step=step, shared=shared)
        )
        _print(made, failed, as_json, path.name, asked=size is not None)
    if failed:
        click.get_current_context().exit(max(error.exit_code for error in failed.values()))


def _refuse_idle_options(names: list[str], *, data: str | None, calib: str | None, dynamic: bool) -> None:
    from edgeyolo.artifact.target import Target

    refuse_lone_split(data)
    if not data:
        refuse_idle({"max_ap_drop"}, "AP is measured on --data, which is not given", hint="Add --data DATA.")
    if not calib:
        refuse_idle(
            {"calib_images", "calib_seed"},
            "a sample of --calib, which is not given",
            hint="Add --calib DATA.",
        )
    if not dynamic:
        refuse_idle({"max_batch"}, "how far a dynamic batch goes", hint="Add --batch dynamic.")
    integers = [Target.parse(name) for name in names if name.endswith("-int8")]
    if not integers:
        refuse_idle(
            {"ranges", "refine"}, f"for INT8 targets, and {', '.join(names)} is none", hint="Leave it out."
        )
    if not any(target.runtime == "openvino" for target in integers):
        refuse_idle(
            {"preset", "float_layers", "accuracy_aware"},
            f"for the INT8 targets of OpenVINO, and {', '.join(names)} is none",
            hint="Leave it out; --ap-budget leaves layers in float for the others.",
        )


def _calibration(
    calib: str | None, sample: tuple[int, int], ranges: str | None, judged: Dataset | None
) -> CalibrationSource | None:
    from edgeyolo.backend.registry import open_calibration, open_ranges

    images, seed = sample
    found = open_calibration(calib, images=images, seed=seed, evaluation=judged) if calib else None
    return open_ranges(ranges, images=found) if ranges else found


def for_each(
    places: dict[str, Path], work: Callable[[str, Path, Callable[[str], None]], Done]
) -> tuple[list[Done], dict[str, EdgeYoloError]]:
    """Results of `work` for each target, and its errors.

    Where there is one target only, its error is raised.
    """
    from edgeyolo.errors import EdgeYoloError

    done: list[Done] = []
    failed: dict[str, EdgeYoloError] = {}
    for number, (target, place) in enumerate(places.items(), start=1):
        about = f"{number}/{len(places)} {target}: " if len(places) > 1 else ""
        with steps() as step:
            try:
                done.append(work(target, place, partial(_tell, step, about)))
            except EdgeYoloError as error:
                if len(places) == 1:
                    raise
                failed[target] = error
    return done, failed


def _tell(step: Callable[[str], None], about: str, text: str) -> None:
    step(about + text)


def _print(
    made: list[Artifact], failed: dict[str, EdgeYoloError], as_json: bool, weights: str, *, asked: bool
) -> None:
    """A row for each target, what is to be said of the size, and what judged it."""
    from edgeyolo.artifact.trained_size import manifest_remark
    from edgeyolo.backend.integers_here import gain_remark
    from edgeyolo.backend.registry import next_step
    from edgeyolo.cli.dry_run import error_facts

    if as_json:
        errors = [error_facts(target, error) for target, error in failed.items()]
        found = [*map(_facts, made), *errors]
        print_json(found if len(found) > 1 else found[0])
        return
    rows = [_row(artifact) for artifact in made]
    rows += [
        ("-", target, "-", "-", f"failed, exit code {error.exit_code}") for target, error in failed.items()
    ]
    print_table(("artifact", "target", "input", "size", "deviation from torch"), rows)
    for artifact in made:
        if remark := manifest_remark(artifact.manifest, weights, asked=asked):
            note(remark)
            break  # the size is the same for all of them
    for artifact in made:
        if step := next_step(artifact):
            note(step)
        if remark := gain_remark(artifact.manifest.target):
            note(remark)
    for artifact in made:
        if verdict := _verdict(artifact.manifest):
            note(f"{artifact.manifest.target}: {verdict}" if len(rows) > 1 else verdict)
    for target, error in failed.items():
        note(f"{target}: {error}")


def _facts(artifact: Artifact) -> dict[str, Any]:
    manifest = artifact.manifest
    parity, accuracy = manifest.parity, manifest.accuracy
    assert parity is not None  # a sealed export always carries it
    return {
        "artifact": str(artifact.path),
        "sha256": artifact.sha256,
        "bytes": artifact.size,
        "parity": parity.worst,
        "tolerance": parity.tolerance,
        "target": str(manifest.target),
        "agreement": parity.agreement,
        "detections": parity.detections,
        "input": {"dtype": manifest.input.dtype, "layout": manifest.input.layout},
        "output": manifest.output.kind,
        "unjudged": manifest.unjudged,
        "accuracy": asdict(accuracy) if accuracy else None,
    }


def _row(artifact: Artifact) -> tuple[str, ...]:
    manifest, parity = artifact.manifest, artifact.manifest.parity
    assert parity is not None  # a sealed export always carries it
    height, width = manifest.input.size
    deviation = f"{parity.worst:.1e} of {parity.tolerance:g} allowed"
    size = f"{artifact.size / 1e6:.1f} MB"
    return str(artifact.path), str(manifest.target), f"{height}x{width}", size, deviation


def _verdict(manifest: Manifest) -> str:
    """Verdict on an INT8 export, or one with --data; "" for others."""
    parity, accuracy = manifest.parity, manifest.accuracy
    if manifest.unjudged:
        return "NOT JUDGED: there were too few detections to compare; its manifest says so"
    if accuracy:
        low, high = accuracy.interval
        change = (
            f"{accuracy.lost:.2f} points lost"
            if accuracy.lost >= 0
            else f"{-accuracy.lost:.2f} points gained"
        )
        return (
            f"AP {100 * accuracy.reference:.2f} -> {100 * accuracy.measured:.2f} on {accuracy.images} images of "
            f"{accuracy.data}: {change} ({accuracy.confidence:.0%} interval of the loss {low:.2f} to {high:.2f}), "
            f"a loss of {accuracy.allowed:g} is allowed"
        )
    if manifest.target.precision == "int8" and parity and parity.agreement is not None:
        return (
            f"judged by {parity.agreement:.1%} of {parity.detections} detections that agree with torch's; --data DATA "
            "measures the AP that is lost"
        )
    return ""
