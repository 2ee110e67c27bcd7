"""Command `edgeyolo calibrate`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeyolo.cli.completion import complete_models, complete_targets
from edgeyolo.cli.console import json_option, note, print_json, print_table, progress, steps
from edgeyolo.cli.idle_options import refuse_idle, refuse_lone_split
from edgeyolo.cli.options import imgsz_option, locate_weights
from edgeyolo.cli.quantizer_options import calibration_sample

if TYPE_CHECKING:
    from edgeyolo.datasets import Dataset
    from edgeyolo_calib.choice.chosen import Findings
    from edgeyolo_calib.quantize.rules import Rules
    from edgeyolo_calib.ranges.ranges import Scheme

_WORST = 8


@click.command("calibrate")
@click.argument("weights", shell_complete=complete_models)
@click.option("--calib", required=True, help="Images: a folder or a labelled data set.")
@calibration_sample
@imgsz_option
@click.option(
    "--target",
    "target_name",
    default="cpu-onnx-int8",
    shell_complete=complete_targets,
    show_default=True,
    help="Whose placement of quantizers: an int8 target of onnx, openvino, ncnn, qnn, tflite or trt.",
)
@click.option(
    "--method",
    type=click.Choice(["minmax", "percentile", "entropy", "mse"]),
    help="How ranges are chosen (default: by what leaves the least output error on the images).",
)
@click.option("--percentile", type=click.FloatRange(50, 100), help="For --method percentile.")
@click.option("--sensitivity", is_flag=True, help="Measure what each layer's integers cost, and draw it.")
@click.option("--data", help="Labelled images, others than --calib's: what is lost is measured as AP too.")
@click.option("--split", help="Which part of --data.")
@click.option(
    "--ap-layers", default=8, show_default=True, help="Of how many layers, the worst, AP is measured."
)
@click.option(
    "--ap-budget",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="Leave the fewest layers in float that lose at most so many AP points on --data.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder (default: runs/calibrate/exp, exp2 ...)."
)
@json_option
def calibrate(  # noqa: PLR0917 - click passes every option by name
    weights: str, calib: str, calib_images: int, calib_seed: int, size: tuple[int, int] | None,
    target_name: str, method: str | None, percentile: float | None, sensitivity: bool, data: str | None,
    split: str | None, ap_layers: int, ap_budget: float | None, output: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure the ranges of a network's tensors on images.

    It also reports what integers will cost each of them.

    Writes ranges.json, which `edgeyolo export --target cpu-onnx-int8 --ranges` takes instead of the images, and
    report.html and report.json: ranges, histograms, what is cut, which tensors lose most. A run that was stopped goes
    on where it was when it is started again with the same -o.

    --sensitivity adds what each layer costs when it alone is in integers: the output error of the raw maps and, for the
    worst, AP on --data. --ap-budget also finds the layers that have to stay in float, and writes them into ranges.json;
    where the budget cannot be met it ends with exit code 4, and the report says what was reached.

    \b
    edgeyolo calibrate best.pt --calib data.yaml -o calibrated
    edgeyolo calibrate best.pt --calib photos/ --target jetson-trt-int8 --method mse
    edgeyolo calibrate best.pt --calib data.yaml --data data.yaml --split val --sensitivity --ap-budget 0.3
    edgeyolo export best.pt --target cpu-onnx-int8 --ranges calibrated/ranges.json
    """
    from edgeyolo.cli.result_files import result_folder
    from edgeyolo_calib.choice.budget import require_reached
    from edgeyolo_calib.images.source import open_images
    from edgeyolo_calib.report.report import write_report

    refuse_lone_split(data)
    if not (sensitivity and data):
        refuse_idle(
            {"ap_layers"},
            "of how many layers --sensitivity measures AP on --data",
            hint="Add --sensitivity --data DATA.",
        )
    judged = _labelled(data, split, sensitivity, ap_budget)
    rules, asked = _choices(target_name, method, percentile, ap_budget)
    images = open_images(calib, calib_images, seed=calib_seed, evaluation=judged)
    path = locate_weights(weights)
    with result_folder(output, "calibrate") as folder:
        record, findings = _measure(
            path, target_name, size, images, folder, rules, asked, judged,
            ap_budget, ap_layers if sensitivity else 0 if ap_budget is not None else None,
        )  # fmt: skip
        written = write_report(folder, record, f"INT8 calibration of {path.name}", images.thumbnails())
    _print(record, folder, as_json)
    note(f"written: {', '.join(map(str, [*written, folder / 'ranges.json']))}")
    if findings and findings.budget:
        require_reached(findings.budget)


def _labelled(data: str | None, split: str | None, sensitivity: bool, budget: float | None) -> Dataset | None:
    from edgeyolo.datasets import load_dataset
    from edgeyolo.errors import UsageError

    if data is None and budget is not None:
        raise UsageError(
            "--ap-budget is kept on labelled images, and none were given", hint="Add --data DATA."
        )
    if data is not None and not sensitivity and budget is None:
        raise UsageError("--data is for --sensitivity and --ap-budget", hint="Add one of them.")
    return load_dataset(data, split=split) if data else None


def _measure(  # noqa: PLR0917
    weights: Path, target_name: str, size: tuple[int, int] | None, images: Any, folder: Path, rules: Rules,
    asked: Scheme | None, judged: Dataset | None, points: float | None, worst: int | None,
) -> tuple[dict[str, Any], Findings | None]:  # fmt: skip
    """The report's record, and what was found of layers where `worst` says to look.

    ranges.json is written.
    """
    import onnx

    from edgeyolo.artifact.target import Target
    from edgeyolo.artifact.trained_size import size_remark
    from edgeyolo.export import ExportOptions
    from edgeyolo.export.exporter import prepared
    from edgeyolo_calib.choice.chosen import MEASUREMENTS, RANGES, investigate, read_graph
    from edgeyolo_calib.onnx_graph import constants_as_weights
    from edgeyolo_calib.quantize.qdq import quantize
    from edgeyolo_calib.quantize.schemes import settle_scheme
    from edgeyolo_calib.ranges.observe import observe
    from edgeyolo_calib.report.report import describe_all

    with ExitStack() as stack:
        with steps() as step:
            options = ExportOptions(size=size, calibration=images)
            source = stack.enter_context(prepared(weights, target_name, options, step=step))
            step("writing the graph")
            graph = read_graph(source, Target.parse(target_name))
        if remark := size_remark(
            weights.name, source.input.size, source.trained, asked=size is not None, model=source.model
        ):
            note(remark)
        # Ranges, then the scheme by them, then layers under that scheme: each step reads what the one before left.
        with progress("measuring ranges") as advance:
            statistics = observe(graph, source.input, images, keep=folder / RANGES, progress=advance)
            statistics.scheme = asked
            statistics.tried = {}
        with steps() as step:
            step("choosing how ranges are chosen")
            scheme = settle_scheme(graph, source.input, statistics, rules, images)
        findings = None
        if worst is not None:
            with progress("measuring layers") as advance:
                findings = investigate(
                    source, graph, statistics, images, rules=rules, scheme=scheme,
                    data=judged, points=points, worst=worst, keep=folder / MEASUREMENTS, progress=advance,
                )  # fmt: skip
        budget = findings.budget if findings else None
        statistics.floats = budget.floats if budget and budget.reached else ()
        statistics.save(folder / RANGES)
        model = constants_as_weights(onnx.load(graph))
        pixels = 255 * source.input.scale
        made = quantize(model, statistics, rules, scheme, pixels=pixels, floats=statistics.floats)
        record = describe_all(statistics, rules, made) | {"target": target_name}
    record["images"] |= {"names": images.names(), "broken": images.broken_names()}
    return record | ({"sensitivity": findings.to_json()} if findings else {}), findings


def _choices(
    target_name: str, method: Any, percentile: float | None, budget: float | None
) -> tuple[Rules, Scheme | None]:
    """The rules, and the way to choose ranges that was asked for, if any."""
    from dataclasses import replace

    from edgeyolo.backend.registry import find_target
    from edgeyolo.errors import UsageError
    from edgeyolo.export.options import require_mixed
    from edgeyolo_calib.quantize.rules import rules_of

    profile, _ = find_target(target_name)
    rules = rules_of(profile.target)
    if budget is not None:
        require_mixed(profile, "an AP budget was given")
    scheme = replace(rules.scheme, method=method) if method else None
    if percentile is None:
        return rules, scheme
    if scheme is None or scheme.method != "percentile":
        raise UsageError(
            f"--percentile {percentile:g}: the method is {method or 'not given'}",
            hint="Add --method percentile.",
        )
    return rules, replace(scheme, percentile=percentile)


def _print(record: dict[str, Any], folder: Path, as_json: bool) -> None:
    if as_json:
        print_json({"folder": str(folder), **record})
        return
    if found := record.get("sensitivity"):
        _print_layers(found)
        return
    rows = []
    for name in record["worst"][:_WORST]:
        tensor = record["tensors"][name]
        rows.append((name, f"{tensor['snr_db']:.1f} dB", f"{tensor['low']:.3g} to {tensor['high']:.3g}",
                     f"{tensor['cut']:.4%}"))  # fmt: skip
    print_table(("tensors that lose most", "signal to noise", "range", "cut"), rows)


def _print_layers(found: dict[str, Any]) -> None:
    def points(lost: dict[str, float] | None) -> str:
        return f"{lost['points']:+.2f} ({lost['low']:.2f} to {lost['high']:.2f})" if lost else ""

    rows = [
        (each["place"], f"{each['error']:.4f}", points(each["lost"])) for each in found["layers"][:_WORST]
    ]
    rows.append(("all in integers", f"{found['whole']['error']:.4f}", points(found["whole"]["lost"])))
    if budget := found["budget"]:
        floats = len(budget["floats"])
        rows += [
            (f"{number} in float: + {each['place']}", f"{each['error']:.4f}", points(each["lost"]))
            for number, each in enumerate(budget["steps"], start=1)
        ]
        within = "within" if budget["reached"] else "NOT within"
        note(f"{floats} layers in float, {within} the budget: {budget['reason']}")
    print_table(("layers that lose most, each alone in integers", "output error", "AP points lost"), rows)
