"""Costs of a training step, in one report.

It is run by `python benchmarks/scripts/training_step.py`.

A step of yolov7-tiny and of yolov7-w6 (auxiliary heads), batch 16, split into its stages; label assignment and loss
alone, beside the published code, with their growth by images and by labels; images/s of the mosaic pipeline. On
generated pictures, or on --data. Writes benchmarks/results/training-step.json and .md; about five minutes on two quiet
cores, and figures of a busy machine say little.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import assign_loss
import data_loading
import train_step
from result_files import RESULTS, write

from edgeyolo.cli.console import note, print_table
from edgeyolo.datasets import Dataset, load_dataset
from edgeyolo.datasets.scenes import write_dataset
from edgeyolo.training.devices import multiplies_bfloat16
from edgeyolo_bench.facts import Machine, Watch
from edgeyolo_bench.render.markdown import table_lines
from edgeyolo_bench.values.device import Interference

NETWORKS = ("yolov7-tiny", "yolov7-w6")
LIMIT = 1 / 3  # of the published code's seconds


def verdicts(cases: Sequence[assign_loss.Case]) -> list[str]:
    """The budget, and how assignment and loss grow."""
    by = {(case.images, case.targets): case for case in cases}
    lines = []
    for case in cases:
        if case.published is not None:
            word = "within" if case.forward <= LIMIT * case.published else "OUTSIDE"
            lines.append(
                f"{case.targets} targets an image: {case.forward / case.published:.0%} of the published "
                f"{case.published:.2f} s, {word} the budget of a third."
            )
    for targets in (20, 60):
        few, many = by[4, targets], by[16, targets]
        lines.append(
            f"Four times the images with {targets} targets each take {many.forward / few.forward:.1f} times as long."
        )
    dense, usual = by[16, 300], by[16, 20]
    pairs = 16 * 300 * 15 * 25 * 80 * 4 / 1e6
    lines.append(
        f"Fifteen times the targets take {dense.memory - usual.memory:.0f} MB more; the batch's targets x candidates "
        f"x classes would take {pairs:.0f} MB for 25 candidates a target alone."
    )
    return lines


def measure(
    dataset: Dataset, options: argparse.Namespace
) -> tuple[list[train_step.Split], list[assign_loss.Case], list[data_loading.Rate]]:
    """All three, steps first."""
    splits = []
    for network in NETWORKS:
        note(f"a step of {network}")
        splits.append(
            train_step.measure(
                network,
                options.imgsz,
                batch=16,
                precision="bf16" if multiplies_bfloat16() else "fp32",
                device="cpu",
                threads=options.threads,
                steps=options.steps,
            )
        )
    note("assignment and loss")
    cases = assign_loss.measure_all(options.threads, runs=options.runs)
    note("data loading")
    rates = [
        data_loading.measure(dataset, size, recipe, cache, options.seconds)
        for size, recipe in ((256, "tiny"), (640, "tiny"), (640, "p5"))
        for cache in data_loading.CACHES
    ]
    return splits, cases, rates


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", help="pictures for data loading, as for `edgeyolo train` (default: generated)"
    )
    parser.add_argument("--imgsz", type=int, default=256, help="of the steps")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--runs", type=int, default=15, help="of assignment and loss")
    parser.add_argument("--seconds", type=float, default=5, help="for each row of data loading")
    options = parser.parse_args()
    watch = Watch(Machine())
    with tempfile.TemporaryDirectory() as folder:
        if options.data:
            dataset = load_dataset(options.data, "train", polygons=True)
        else:
            dataset = load_dataset(write_dataset(Path(folder) / "scenes", range(64), (480, 640)))
        splits, cases, rates = measure(dataset, options)
    device = watch.finish(Interference())
    heading = f"{device.cpu.model}, {options.threads} threads, load average before {watch.load}"
    lines = ["# A training step", "", heading, ""]
    for split in splits:
        lines += [f"## {split.sentence()}", "", *table_lines(train_step.COLUMNS, split.cells()), ""]
    lines += ["## Assignment and loss: 640 pixels, 80 classes, float32", ""]
    lines += table_lines(assign_loss.COLUMNS, [case.cells() for case in cases])
    lines += ["", *(f"- {line}" for line in verdicts(cases)), "", "## Data loading", ""]
    lines += table_lines(data_loading.COLUMNS, [rate.cells() for rate in rates])
    facts: dict[str, Any] = {
        "device": asdict(device),
        "threads": options.threads,
        "steps": [asdict(split) for split in splits],
        "assign_loss": [asdict(case) for case in cases],
        "data_loading": [asdict(rate) for rate in rates],
    }
    write("training-step", facts, lines)
    for split in splits:
        note(split.sentence())
        print_table(train_step.COLUMNS, split.cells())
    print_table(assign_loss.COLUMNS, [case.cells() for case in cases])
    for line in verdicts(cases):
        note(line)
    print_table(data_loading.COLUMNS, [rate.cells() for rate in rates])
    note(f"written to {RESULTS}/training-step.md")


if __name__ == "__main__":
    main()
