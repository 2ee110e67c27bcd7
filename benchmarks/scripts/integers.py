"""AP lost to integers by target.

It stands beside quantizers without placement rules and quantization-aware training.

    python benchmarks/scripts/integers.py WEIGHTS --data D --split test --calib D --imgsz 256 --name NAME [--qat QAT]
    python benchmarks/scripts/integers.py WEIGHTS --scenes 300 --imgsz 320 --name integers-scenes

`--split val,test` judges on both together. AP lost is in points against the float network on the same images, with a
paired bootstrap interval over the images; a target that an emulator runs is judged on `--emulated` of them. QAT are
weights of `edgeyolo train WEIGHTS --qat --distill 3`; with --train-qat EPOCHS they are trained here. Writes
benchmarks/results/NAME.json and NAME.md, again after every row.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import result_files
from naive_quantizers import NAIVE

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.cli.console import note, print_table
from edgeyolo.datasets import Dataset, load_dataset
from edgeyolo.datasets.scenes import write_dataset
from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo.evaluation.bootstrap import ap_difference
from edgeyolo.evaluation.predictions import Predictions
from edgeyolo.evaluation.result import ValidationResult
from edgeyolo.evaluation.validate import open_to_judge, validate
from edgeyolo.export import ExportOptions, export
from edgeyolo.training.loop.trainer import LAST
from edgeyolo_bench.render.markdown import table_lines
from edgeyolo_calib.images.sampling import strata, stratified
from edgeyolo_calib.images.source import ImageSource, open_images

REFERENCE = "cpu-onnx-fp32"
TARGETS = (
    "cpu-onnx-int8", "cpu-openvino-int8", "jetson-trt-int8", "cpu-tflite-int8", "edgetpu-tflite-int8",
    "ane-coreml-int8", "ane-coreml-w6", "cpu-ncnn-int8", "hexagon-qnn-int8",
)  # fmt: skip
REFINE = "cpu-onnx-int8,jetson-trt-int8,cpu-openvino-int8,cpu-tflite-int8"
LEARNED = ("cpu-onnx-int8", "jetson-trt-int8", "cpu-openvino-int8")
CALIBRATION_SEEDS = range(2_000_000, 2_000_300)  # scenes that no training and no evaluation has seen
TRAINING_SEEDS = range(4_000_000, 4_000_600)
DISTILL = 3.0  # gain: what is lost is judged against the float network, and labels pull away from it
SQUARED = 20.0  # that of files without one, when boxes were compared by squares
REFINED, TRAINED, QAT_EPOCHS, QAT_DISTILL = "refined", "trained (QAT)", "qat_epochs", "qat_distill"
COLUMNS = ("how", "target", "images", "AP", "AP lost", "95 % interval", "run by")

Run = Callable[[], tuple[ValidationResult, str]]


def read_splits(data: str, splits: str | None) -> Dataset:
    """One data set of several splits, `val,test`; images are numbered anew."""
    parts = [load_dataset(data, split=split) for split in (splits.split(",") if splits else [None])]
    if len(parts) == 1:
        return parts[0]
    images = [sample for part in parts for sample in part.images]
    problems = [problem for part in parts for problem in part.problems]
    return replace(
        parts[0],
        name="+".join([parts[0].name, *(part.name.rsplit("-", 1)[-1] for part in parts[1:])]),
        images=tuple(replace(sample, image_id=number) for number, sample in enumerate(images, start=1)),
        problems=tuple(problems),
    )


def sample_of(dataset: Dataset, count: int) -> Dataset:
    """`count` of the images, every class and object size among them."""
    if count >= len(dataset):
        return dataset
    chosen = sorted(stratified(strata(dataset.images), count, seed=0))
    return replace(dataset, images=tuple(dataset.images[index] for index in chosen))


def of_images(predictions: Predictions, dataset: Dataset) -> Predictions:
    """Predictions on the data set's images."""
    kept = np.isin(predictions.image_id, [sample.image_id for sample in dataset.images])
    return Predictions(
        predictions.image_id[kept],
        predictions.class_id[kept],
        predictions.xywh[kept],
        predictions.score[kept],
    )


def judge(artifact: Artifact, dataset: Dataset) -> tuple[ValidationResult, str]:
    """AP of an artifact, and what ran it."""
    with open_to_judge(artifact) as (pipeline, stand_in):
        return validate(pipeline, dataset), stand_in or artifact.manifest.backend


def exported(
    weights: str, target: str, options: ExportOptions, dataset: Dataset
) -> tuple[ValidationResult, str]:
    """AP of the target's artifact, made in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
        return judge(export(weights, target, Path(folder) / target, options), dataset)


def without_rules(
    quantizer: Callable[[Path, Artifact, CalibrationSource], Any], weights: str, options: ExportOptions,
    dataset: Dataset,
) -> tuple[ValidationResult, str]:  # fmt: skip
    """AP of the float artifact's graph after another quantizer.

    It is run by ONNX Runtime or OpenVINO.
    """
    assert options.calibration is not None
    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
        artifact = export(weights, REFERENCE, Path(folder) / REFERENCE, replace(options, calibration=None))
        with open_to_judge(artifact) as (pipeline, _):
            session = quantizer(artifact.file(".onnx"), artifact, options.calibration)
            with closing(session):
                return validate(replace(pipeline, session=session), dataset), type(session).__name__


def plan(
    options: argparse.Namespace, dataset: Dataset, calibration: ImageSource, folder: Path
) -> Iterator[tuple[str, str, Run]]:
    """(how, target, what measures it), the float network first."""
    chosen = ExportOptions(size=(options.imgsz, options.imgsz), calibration=calibration)
    yield "float", REFERENCE, partial(exported, options.weights, REFERENCE, chosen, dataset)
    few = sample_of(dataset, options.emulated)
    for how, targets in (("calibrated", options.targets), (REFINED, options.refine)):
        for target in filter(None, targets.split(",")):
            profile, _ = registry.find_target(target)
            judged = few if profile.emulated else dataset
            # Ranges are measured once for all quantizers of ours that start from the same graph.
            ranges = None if how == REFINED else folder / f"ranges{profile.opset}.json"
            kept = replace(calibration, ranges=ranges)
            asked = replace(chosen, calibration=kept, refine=how == REFINED)
            yield how, target, partial(exported, options.weights, target, asked, judged)
    for target in LEARNED if options.qat else ():
        yield (
            TRAINED,
            target,
            partial(exported, options.qat, target, replace(chosen, calibration=None), dataset),
        )
    naive = replace(chosen, calibration=replace(calibration, ranges=folder / "naive.json"))
    for how, target, quantizer in () if options.no_naive else NAIVE:
        yield how, target, partial(without_rules, quantizer, options.weights, naive, dataset)


def measure(
    how: str, target: str, run: Run, exact: ValidationResult | None
) -> tuple[dict[str, Any], ValidationResult | None]:
    """One row of the table; a target that refuses the network says why."""
    try:
        result, runtime = run()
    except EdgeYoloError as error:
        note(f"{how}, {target}: {error.message}")
        return {
            "how": how,
            "target": target,
            "refused": shorten(error.message, 200, placeholder=" ..."),
        }, None
    reference = of_images((exact or result).predictions, result.data)
    lost = ap_difference(result.data, reference, result.predictions)
    row = {
        "how": how, "target": target, "images": len(result.data), "AP": result.metrics["AP"],
        "AP50": result.metrics["AP50"],
        "lost": 100 * lost.value, "interval": [100 * lost.low, 100 * lost.high], "run_by": runtime,
    }  # fmt: skip
    note(f"{how}, {target}: AP {row['AP']:.4f}, {row['lost']:+.2f} points lost")
    return row, result


def measured_before(name: str, about: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of an earlier run by (how, target).

    It leaves out those of weights that this run has trained anew.

    Raises UsageError where that run was about something else.
    """
    path = result_files.RESULTS / f"{name}.json"
    if not path.exists():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    other = [key for key in about if key not in {QAT_EPOCHS, QAT_DISTILL} and kept[key] != about[key]]
    if other:
        raise UsageError(
            f"{path}: is of other {', '.join(other)}", hint="Take another --name, or leave out --resume."
        )
    return {
        (row["how"], row["target"]): row if "refused" in row else {"images": kept["images"], **row}
        for row in kept["rows"]
        if not (row["how"] == TRAINED and about[QAT_EPOCHS])
    }


def training_before(name: str, kept: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    """Epochs and distillation of the quantization-aware training whose rows are kept."""
    if not any(how == TRAINED for how, _ in kept):
        return {QAT_EPOCHS: None, QAT_DISTILL: None}
    found = json.loads((result_files.RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return {QAT_EPOCHS: found[QAT_EPOCHS], QAT_DISTILL: found.get(QAT_DISTILL, SQUARED)}


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with ours first, the float one before all; those of other quantizers last."""
    naive = {how for how, _, _ in NAIVE}
    return sorted(rows, key=lambda row: (row["how"] != "float", row["how"] in naive))


def texts(row: dict[str, Any]) -> tuple[str, ...]:
    """A row for the terminal and for Markdown."""
    if "refused" in row:
        return row["how"], row["target"], "-", "-", "-", "-", "refused: " + row["refused"]
    low, high = row["interval"]
    interval = f"{low:+.2f} to {high:+.2f}"
    images, points = str(row["images"]), f"{row['lost']:+.2f}"
    return row["how"], row["target"], images, f"{row['AP']:.4f}", points, interval, row["run_by"]


def write(name: str, about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """The tables as they stand."""
    sentence = (
        "{weights} at {imgsz} pixels, AP on {images} images of {data}; calibrated on {calibration}; AP lost in points "
        "against float, with a paired bootstrap over the images."
    ).format(**about)
    if about[QAT_EPOCHS]:
        sentence += f" QAT: {about[QAT_EPOCHS]} epochs with a distillation of {about[QAT_DISTILL]:g}."
    lines = [sentence, "", *table_lines(COLUMNS, [texts(row) for row in rows])]
    result_files.write(name, about | {"rows": rows}, lines)


def train(options: argparse.Namespace, folder: Path) -> str:
    """Weights after quantization-aware training.

    It runs on the data's training split or on generated scenes.
    """
    from edgeyolo.training.config import TrainConfig
    from edgeyolo.training.quantized import QuantizedOptions, train_quantized

    if options.scenes:
        side = (options.imgsz, options.imgsz)
        data = load_dataset(write_dataset(folder / "training", TRAINING_SEEDS, side))
    else:
        data = load_dataset(options.calib, split="train")
    config = TrainConfig(epochs=options.train_qat, batch_size=8, image_size=options.imgsz)
    note(f"quantization-aware training, {options.train_qat} epochs on {len(data)} images")
    train_quantized(
        options.weights, data, None, folder / "qat", config=config, options=QuantizedOptions(distill=DISTILL)
    )
    return str(folder / "qat" / LAST)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights")
    parser.add_argument("--data")
    parser.add_argument("--split", help="one, or several with commas between them")
    parser.add_argument("--calib", help="calibration images; its training split where it has one")
    parser.add_argument("--scenes", type=int, help="judge on so many generated scenes, calibrate on others")
    parser.add_argument("--images", type=int, default=300, help="calibration images")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--qat", help="the same network after quantization-aware training")
    parser.add_argument("--train-qat", type=int, metavar="EPOCHS", help="train it here")
    parser.add_argument("--emulated", type=int, default=200, help="images for a target that an emulator runs")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--refine", default=REFINE, help="targets that are exported with --refine too")
    parser.add_argument(
        "--no-naive", action="store_true", help="leave out quantizers without placement rules"
    )
    parser.add_argument("--resume", action="store_true", help="take the rows that NAME.json has already")
    parser.add_argument("--name", required=True, help="of the files in benchmarks/results")
    options = parser.parse_args()
    if not (options.scenes or (options.data and options.calib)):
        parser.error("--scenes N, or --data and --calib")
    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
        if options.scenes:
            side = (options.imgsz, options.imgsz)
            options.data = write_dataset(Path(folder) / "scenes", range(options.scenes), side)
            seeds = CALIBRATION_SEEDS[: options.images]
            options.calib = write_dataset(Path(folder) / "calibration", seeds, side)
        if options.train_qat:
            options.qat = train(options, Path(folder))
        dataset = read_splits(options.data, options.split)
        calibration = open_images(str(options.calib), options.images, evaluation=dataset)
        about: dict[str, Any] = {
            "weights": Path(options.weights).name, "data": dataset.name, "images": len(dataset),
            "imgsz": options.imgsz, "calibration": calibration.described, QAT_EPOCHS: options.train_qat,
            QAT_DISTILL: DISTILL if options.train_qat else None,
        }  # fmt: skip
        kept = measured_before(options.name, about) if options.resume else {}
        if not options.train_qat:
            about |= training_before(options.name, kept)
        kept.pop(("float", REFERENCE), None)  # what others are compared with is predicted again
        rows: list[dict[str, Any]] = []
        exact: ValidationResult | None = None
        for how, target, run in plan(options, dataset, calibration, Path(folder)):
            row = kept.pop((how, target), None)
            if row is None:
                row, result = measure(how, target, run, exact)
                exact = exact or result
            rows.append(row)
            write(options.name, about, in_order([*rows, *kept.values()]))
        print_table(COLUMNS, [texts(row) for row in rows])


if __name__ == "__main__":
    main()
