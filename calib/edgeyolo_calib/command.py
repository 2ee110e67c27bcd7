"""`edgeyolo calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeyolo.cli.console import json_option, note, print_json, print_table, progress, steps
from edgeyolo.cli.options import imgsz_option, locate_weights

if TYPE_CHECKING:
    from edgeyolo_calib.ranges import Scheme
    from edgeyolo_calib.rules import Rules
    from edgeyolo_calib.statistics import Statistics

TARGET = "cpu-onnx-int8"
OPSET = 18  # of that target
_WORST = 8


@click.command("calibrate")
@click.argument("weights")
@click.option("--calib", required=True, help="Images: a folder or a labelled data set.")
@click.option("--calib-images", default=300, show_default=True, help="How many of them.")
@imgsz_option
@click.option(
    "--rules",
    "rules_name",
    type=click.Choice(["onnxruntime", "tensorrt"]),
    default="onnxruntime",
    show_default=True,
    help="Whose placement of quantizers.",
)
@click.option(
    "--method",
    type=click.Choice(["minmax", "percentile", "entropy", "mse"]),
    help="How ranges are chosen (default: what is best for the rules).",
)
@click.option("--percentile", type=click.FloatRange(50, 100), help="For --method percentile.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder (default: runs/calibrate/exp, exp2 ...)."
)
@json_option
def calibrate(  # noqa: PLR0917 - click passes every option by name
    weights: str, calib: str, calib_images: int, size: tuple[int, int] | None, rules_name: str, method: str | None,
    percentile: float | None, output: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure the ranges of a network's tensors on images, and report what integers will cost each of them.

    Writes ranges.json, which `edgeyolo export --target cpu-onnx-int8 --ranges` takes instead of the images, and
    report.html and report.json: ranges, histograms, what is cut, which tensors lose most. A run that was stopped goes
    on where it was when it is started again with the same -o.

    \b
    edgeyolo calibrate best.pt --calib data.yaml -o calibrated
    edgeyolo calibrate best.pt --calib photos/ --rules tensorrt --method mse
    edgeyolo export best.pt --target cpu-onnx-int8 --ranges calibrated/ranges.json
    """
    from edgeyolo.export import ExportOptions
    from edgeyolo.export.pipeline import prepared
    from edgeyolo.results import next_run
    from edgeyolo_calib.observe import observe
    from edgeyolo_calib.source import open_images

    images = open_images(calib, calib_images)
    path = locate_weights(weights)
    with (
        steps() as step,
        prepared(path, TARGET, ExportOptions(size=size, calibration=images), step=step) as source,
    ):
        step("writing the graph")
        graph = source.onnx(opset=OPSET)
        folder = output or next_run("calibrate")
        folder.mkdir(parents=True, exist_ok=True)
        with progress("measuring ranges") as advance:
            statistics = observe(graph, source.input, images, keep=folder / "ranges.json", progress=advance)
        step("placing quantizers")
        rules, scheme = _choices(rules_name, method, percentile)
        record = _report(graph, statistics, rules, scheme, 255 * source.input.scale)
    from edgeyolo_calib.report import write_report

    data, page = write_report(folder, record, f"INT8 calibration of {path.name}")
    _print(record, folder, as_json)
    if not as_json:
        note(f"written: {data}, {page}, {folder / 'ranges.json'}")


def _choices(rules_name: str, method: Any, percentile: float | None) -> tuple[Rules, Scheme]:
    from dataclasses import replace

    from edgeyolo.errors import UsageError
    from edgeyolo_calib.rules import ONNXRUNTIME, TENSORRT

    rules = {each.name: each for each in (ONNXRUNTIME, TENSORRT)}[rules_name]
    scheme = replace(rules.scheme, method=method) if method else rules.scheme
    if percentile is None:
        return rules, scheme
    if scheme.method != "percentile":
        raise UsageError(
            f"--percentile {percentile:g}: the method is {scheme.method}", hint="Add --method percentile."
        )
    return rules, replace(scheme, percentile=percentile)


def _report(
    graph: Path, statistics: Statistics, rules: Rules, scheme: Scheme, pixels: float
) -> dict[str, Any]:
    import onnx

    from edgeyolo_calib.qdq import quantize
    from edgeyolo_calib.report import describe_all

    made = quantize(onnx.load(graph), statistics, rules, scheme, pixels=pixels)
    return describe_all(statistics, rules, made)


def _print(record: dict[str, Any], folder: Path, as_json: bool) -> None:
    if as_json:
        print_json({"folder": str(folder), **record})
        return
    rows = []
    for name in record["worst"][:_WORST]:
        tensor = record["tensors"][name]
        rows.append((name, f"{tensor['snr_db']:.1f} dB", f"{tensor['low']:.3g} to {tensor['high']:.3g}",
                     f"{tensor['cut']:.4%}"))  # fmt: skip
    print_table(("tensors that lose most", "signal to noise", "range", "cut"), rows)
