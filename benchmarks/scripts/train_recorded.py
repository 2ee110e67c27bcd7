"""One of the trainings of trainings.py by one command.

Python benchmarks/scripts/train_recorded.py NAME --data D

bccd      yolov7-tiny from scratch on the blood cells' train split, judged on its test split at 256 pixels
builtin   the model that comes with the package: efficientnet-lite0-pan on PASCAL VOC 2007, from what lite_backbone.py
          makes

Trains in --runs (default runs/NAME), one folder for each stage; a run that was stopped goes on, finished stages are
kept. Judges the last stage's averaged weights, on pictures that no step has seen and that chose no epoch (but the
stages themselves were settled with such results in view), and writes benchmarks/results/train-NAME.json and .md:
settings, curve, AP, seconds. --judge-only does the second half only, and keeps the remark of the record that it writes
again. `builtin` is then published by benchmarks/scripts/publish_builtin.py.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import result_files
import torch
from trainings import TRAININGS, Training, with_epochs

from edgeyolo.cli.console import note, print_table, progress
from edgeyolo.datasets import Dataset, load_dataset
from edgeyolo.evaluation.validate import validate
from edgeyolo.models import weights
from edgeyolo.training.config import settings_of
from edgeyolo.training.loop.session import make_pipeline
from edgeyolo.training.loop.trainer import LAST, STATE, TABLE
from edgeyolo.training.recipe import find_recipe
from edgeyolo.training.report.progress import ProgressListener
from edgeyolo.training.run import resume, train
from edgeyolo_bench.facts import Machine, read_device
from edgeyolo_bench.render.markdown import table_lines

_CURVE = ("lr", "box", "obj", "cls", "AP", "AP50")


def run_stages(training: Training, folder: Path, learned: Dataset, judged: Dataset) -> None:
    """Train what is not trained yet."""
    start: str | Path = training.network
    for stage in training.stages:
        place = folder / stage.name
        listener = ProgressListener()
        try:
            if _epochs_in(place) >= stage.config.epochs:
                note(f"stage {stage.name}: finished before")
            elif (place / STATE).exists():
                resume(place, learned, judged, listener=listener)
            else:
                begun = stage.begin(Path(start), folder) if stage.begin else start
                train(
                    begun, learned, judged, place, config=stage.config, recipe=stage.recipe, listener=listener
                )
        finally:
            listener.close()
        start = place / LAST


def _epochs_in(folder: Path) -> int:
    """Number of epochs that a stage has behind it."""
    table = folder / TABLE
    return len(table.read_text(encoding="utf-8").splitlines()) - 1 if table.is_file() else 0


def record(
    training: Training, folder: Path, judged: Dataset, pictures: int, *, remark: str = ""
) -> dict[str, Any]:
    """Record of a training.

    It has the training as its files tell it, and its worth. remark: what the files cannot tell.
    """
    stages = [stage_facts(folder / stage.name, pictures) for stage in training.stages]
    final = folder / training.stages[-1].name / LAST
    loaded = weights.load(final)
    pipeline = make_pipeline(loaded.network, loaded.class_names, training.size, "cpu", "fp32")
    with progress("judging") as advance:
        result = validate(pipeline, judged, progress=advance)
    return {
        "name": training.name,
        "network": training.network,
        "origin": training.origin,
        "sha256": loaded.sha256,
        "seconds": sum(stage["seconds"] for stage in stages),
        "metrics": dict(result.metrics),
        "classes": {item.name: {"AP": item.ap, "AP50": item.ap50} for item in result.per_class},
        "protocol": result.protocol.sentence(),
        "device": asdict(read_device(Machine()).cpu),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "remark": remark,
        "stages": stages,
    }


def remark_before(training: Training) -> str:
    """The remark of the record that there is; "" where there is none."""
    file = result_files.RESULTS / f"train-{training.name}.json"
    return str(json.loads(file.read_text(encoding="utf-8"))["remark"]) if file.is_file() else ""


def stage_facts(folder: Path, pictures: int) -> dict[str, Any]:
    """Settings and curve of a stage; `passes` counts pictures."""
    config, recipe = settings_of(weights.read_info(folder / LAST).provenance["training"])
    with (folder / TABLE).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    curve = [{key: float(value) for key, value in row.items() if value} for row in rows]
    seconds, passes = curve[-1]["seconds"], len(curve) * pictures
    return {
        "name": folder.name,
        "config": {**config.to_dict(), "epochs": len(curve)},
        "recipe": recipe.to_dict(),
        "seconds": seconds,
        "passes": passes,
        "images_per_second": passes / seconds,
        "curve": curve,
    }


def to_markdown(facts: dict[str, Any]) -> list[str]:
    """The result for readers: AP first, then how it came about."""
    shown = {key: f"{value:.4f}" for key, value in facts["metrics"].items() if value is not None}
    lines = [
        f"# {facts['network']}, trained: {facts['name']}",
        "",
        *table_lines(tuple(shown), [tuple(shown.values())]),
        "",
        f"{facts['protocol']}. Begun from {facts['origin']}; averaged weights of the last epoch, SHA-256 "
        f"{facts['sha256'][:12]}.",
        f"{facts['seconds'] / 60:.1f} minutes on {facts['device']['model']}, {facts['threads']} threads, torch "
        f"{facts['torch']}; validation during the run included.",
        *([facts["remark"]] if facts["remark"] else []),
        "",
    ]
    for stage in facts["stages"]:
        config, recipe = stage["config"], stage["recipe"]
        base = find_recipe(recipe["name"])
        changed = [f"{key}={value}" for key, value in recipe.items() if value != getattr(base, key)]
        growing = f"{config['first_size']} to " if config["first_size"] else ""
        lines += [
            f"## Stage {stage['name']}",
            "",
            f"{config['epochs']} epochs, {stage['passes']} pictures, {stage['images_per_second']:.1f} a second; "
            f"{growing}{config['image_size']} pixels, batch "
            f"{config['batch_size']}, {config['precision']}, {recipe['optimizer']}, seed {config['seed']}.",
            f"Recipe `{base.name}`{' with ' if changed else ''}{', '.join(changed)}.",
            "",
            *table_lines(
                ("epoch", *_CURVE, "minutes"), [_curve_row(row) for row in stage["curve"] if "AP" in row]
            ),
            "",
        ]
    return lines


def _curve_row(row: dict[str, float]) -> list[str]:
    numbers = [f"{row[key]:.4f}" for key in _CURVE]
    return [str(int(row["epoch"]) + 1), *numbers, f"{row['seconds'] / 60:.1f}"]


def main() -> None:
    """Train and judge from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=sorted(TRAININGS))
    parser.add_argument("--data", required=True, help="as for `edgeyolo train`")
    parser.add_argument("--runs", type=Path, help="where the stages' folders are (default: runs/NAME)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--epochs", type=int, help="of the last stage, for a machine that has more or less time"
    )
    parser.add_argument("--judge-only", action="store_true")
    parser.add_argument("--remark", help="a sentence for the result, on what else the machine did, say")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    training = TRAININGS[options.name]
    if options.epochs:
        training = with_epochs(training, options.epochs)
    learned = load_dataset(options.data, training.learned, polygons=True)
    judged = load_dataset(options.data, training.judged, class_names=learned.class_names)
    folder = options.runs or Path("runs") / training.name
    if not options.judge_only:
        run_stages(training, folder, learned, judged)
    remark = options.remark
    if remark is None:
        remark = remark_before(training) if options.judge_only else ""
    facts = record(training, folder, judged, len(learned), remark=remark)
    result_files.write(f"train-{facts['name']}", facts, to_markdown(facts))
    note(f"written to {result_files.RESULTS}/train-{facts['name']}.md")
    print_table(tuple(facts["metrics"]), [[f"{value or 0:.4f}" for value in facts["metrics"].values()]])
    note(f"{facts['seconds'] / 60:.1f} minutes of training")


if __name__ == "__main__":
    main()
