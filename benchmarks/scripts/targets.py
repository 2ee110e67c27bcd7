"""Every target of one checkpoint.

Size, conversion time, latency, deviation and AP.

python benchmarks/scripts/targets.py WEIGHTS --data D [--split val,test] [--imgsz 256] [--calib D] [--targets a,b]
python benchmarks/scripts/targets.py WEIGHTS --scenes 300 --imgsz 320 --name targets-scenes

Where a target's device is absent its stand-in gives the AP, and there is no latency. A target that an emulator runs is
judged on `--emulated` of the images, and so is the network beside it. Writes benchmarks/results/targets.json and
targets.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from integers import CALIBRATION_SEEDS, of_images, read_splits, sample_of
from result_files import write

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.cli.console import note, print_table, steps
from edgeyolo.datasets import Dataset
from edgeyolo.datasets.scenes import make_scene, write_dataset
from edgeyolo.errors import GateError, UnsupportedTargetError
from edgeyolo.evaluation.bootstrap import ap_difference
from edgeyolo.evaluation.result import ValidationResult
from edgeyolo.evaluation.validate import open_to_judge, validate
from edgeyolo.export import ExportOptions, export
from edgeyolo_bench.render.markdown import table_lines

REFERENCE = "cpu-torch-fp32"
RUNS = 60
REFUSALS = (GateError, UnsupportedTargetError)  # anything else is a mistake of ours and ends the run


def measure(
    artifact: Artifact, dataset: Dataset, seconds: float, exact: ValidationResult | None
) -> tuple[dict[str, Any], ValidationResult]:
    """One row of the table; `exact` are the results of the first."""
    manifest = artifact.manifest
    with open_to_judge(artifact) as (pipeline, stand_in):
        result = validate(pipeline, dataset, artifact=artifact)
        latency = None
        if not stand_in:
            batch, _ = pipeline.preprocess([make_scene(0).image])
            times = [timed(pipeline.infer, batch) for _ in range(RUNS)][RUNS // 6 :]
            latency = statistics.median(times)
    parity = manifest.parity
    data = result.data  # with the ids of the network's classes
    lost = ap_difference(data, of_images((exact or result).predictions, data), result.predictions)
    row = {
        "target": str(manifest.target),
        "artifact": artifact.sha256,
        "megabytes": artifact.size / 1e6,
        "export_seconds": seconds,
        "latency_ms": latency,
        "run_by": stand_in or manifest.backend,
        "deviation": parity.worst if parity else None,
        "AP": result.metrics["AP"],
        "AP50": result.metrics["AP50"],
        "images": len(dataset),
        "lost": 100 * lost.value,
        "tools": dict(manifest.tools),
    }
    return row, result


def timed(call: Any, argument: Any) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    call(argument)
    return (time.perf_counter() - start) * 1e3


def reason_against(profile: TargetProfile, calibration: CalibrationSource | None) -> str:
    """Reason why a target is left out; "" if it is not."""
    _, backend = registry.find_target(profile.target)
    available = backend.can_compile()
    if not available.ok:
        return available.reason
    if profile.calibrated and calibration is None:
        return "no calibration images, see --calib"
    return ""


@contextmanager
def exported(weights: str, target: str, options: ExportOptions) -> Iterator[tuple[Artifact, float]]:
    """An artifact in a folder of its own, and the seconds it took."""
    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
        start = time.perf_counter()
        artifact = export(weights, target, Path(folder) / target, options)
        yield artifact, time.perf_counter() - start


def rows_of(options: argparse.Namespace, dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Measure the targets one after another."""
    side = (options.imgsz, options.imgsz)
    calibration = registry.open_calibration(options.calib, images=options.images) if options.calib else None
    known = {str(profile.target): profile for profile, _ in registry.profiles()}
    wanted = (
        options.targets.split(",") if options.targets else sorted(known, key=lambda name: name != REFERENCE)
    )
    few, exact = sample_of(dataset, options.emulated), None
    for target in wanted:
        if reason := reason_against(known[target], calibration):
            note(f"{target}: left out, {reason}")
            continue
        with steps() as step:
            step(target)
            try:
                with exported(options.weights, target, ExportOptions(side, calibration=calibration)) as made:
                    judged = few if known[target].emulated else dataset
                    row, result = measure(made[0], judged, made[1], exact)
                    exact = exact or result
                    yield row
            except REFUSALS as error:
                note(f"{target}: {error.message}")
                yield {"target": target, "refused": error.message}


COLUMNS = ("target", "MB", "export", "latency", "deviation", "AP", "AP lost", "run by")


def table(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Texts for the terminal and for Markdown.

    AP lost is in points, against the first row.
    """
    texts = []
    for row in rows:
        if "refused" in row:
            texts.append((row["target"], *["-"] * 6, "refused: " + row["refused"].split("\n")[0]))
            continue
        latency = f"{row['latency_ms']:.1f} ms" if row["latency_ms"] is not None else "-"
        texts.append(
            (
                row["target"], f"{row['megabytes']:.1f}", f"{row['export_seconds']:.0f} s", latency,
                f"{row['deviation']:.1e}", f"{row['AP']:.4f}", f"{row['lost']:+.2f}",
                row["run_by"] + (f", {row['images']} images" if row["images"] < rows[0]["images"] else ""),
            )
        )  # fmt: skip
    return texts


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights")
    parser.add_argument("--data")
    parser.add_argument("--split", help="one, or several with commas between them")
    parser.add_argument("--scenes", type=int, help="judge on so many generated scenes, calibrate on others")
    parser.add_argument("--emulated", type=int, default=100, help="images for a target that an emulator runs")
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--calib")
    parser.add_argument("--images", type=int, default=300, help="calibration images")
    parser.add_argument("--targets", help="comma-separated; the first is the reference for AP lost")
    parser.add_argument("--name", default="targets", help="of the files in benchmarks/results")
    options = parser.parse_args()
    if not (options.scenes or options.data):
        parser.error("--scenes N, or --data")
    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
        if options.scenes:
            side = (options.imgsz, options.imgsz)
            options.data = write_dataset(Path(folder) / "scenes", range(options.scenes), side)
            options.calib = write_dataset(
                Path(folder) / "calibration", CALIBRATION_SEEDS[: options.images], side
            )
        dataset = read_splits(options.data, options.split)
        rows = list(rows_of(options, dataset))
    texts = table(rows)
    print_table(COLUMNS, texts)
    facts = {
        "weights": Path(options.weights).name, "data": dataset.name, "images": len(dataset), "imgsz": options.imgsz,
        "calibration_images": options.images if options.calib else 0, "rows": rows,
    }  # fmt: skip
    about = (
        f"{facts['weights']} at {options.imgsz} pixels, AP on {len(dataset)} images of {dataset.name}; latency is the "
        "median of one image's inference on two shared cores; AP lost in points against the first row."
    )
    write(options.name, facts, [about, "", *table_lines(COLUMNS, texts)])


if __name__ == "__main__":
    main()
