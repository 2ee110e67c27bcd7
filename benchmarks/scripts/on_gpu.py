"""Training and speed on a GPU that is lent for a few minutes.

Trains for a fixed time, then measures the networks.

packed_data.py --data voc2007/data.yaml --output voc.zip      on the machine that has the pictures
on_gpu.py --data voc.zip --output OUT [--seconds 480]         on the GPU's
  [--published CHECKOUT]  the published code's networks beside ours, from a checkout of it
  [--skip-training] [--skip-speed]

Trains the model that comes with the package from its published weights, at 320 pixels, as trainings.py's ON_GPU says;
rates follow the clock, so that the run is a whole one however fast the machine is. Writes into OUT as soon as each is
there: builtin.safetensors (float16, the averaged weights), results.csv, on_gpu.json and on_gpu.md. With a library that
measures AP (edgeyolo[eval]), the weights with the best AP; without, the last ones. A rehearsal on a CPU:
on_gpu.py --data tiny.zip --output OUT --device cpu --epochs 1 --batch 2 --imgsz 64 --speed-imgsz 64 --workers 0
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import network_speed
import torch
from packed_data import PARTS, unpack
from timed_training import Clock, TimedTrainer
from train_recorded import stage_facts
from trainings import ON_GPU, Stage

from edgeyolo.cli.console import note, print_table
from edgeyolo.datasets import Dataset
from edgeyolo.detector import builtin
from edgeyolo.evaluation.validate import validate
from edgeyolo.models import specs, weights
from edgeyolo.support.files import atomic_file
from edgeyolo.training.loop.session import make_pipeline
from edgeyolo.training.loop.trainer import BEST, TABLE
from edgeyolo.training.report.progress import ProgressListener
from edgeyolo.training.run import prepare_network
from edgeyolo_bench.render.markdown import table_lines

EVALUATORS = ("faster_coco_eval", "pycocotools")


def whole_batches(dataset: Dataset, count: int) -> Dataset:
    """The data set with some pictures twice.

    All batches are then of one shape, for which the network is compiled once.
    """
    missing = -len(dataset) % count
    return replace(dataset, images=(*dataset.images, *(dataset.images * count)[:missing]))


def train_for(
    clock: Clock, stage: Stage, parts: dict[str, Dataset], start: str, folder: Path
) -> dict[str, Any]:
    """Train until the clock ends; returns the record of it."""
    learned = whole_batches(parts[PARTS[0]], stage.config.batch_size)
    judged = parts[PARTS[1]] if any(map(find_spec, EVALUATORS)) else None
    if judged is None:
        note("nothing here measures AP: the last weights are kept, and judged elsewhere")
    prepared = prepare_network(start, learned.class_names, learned, stage.config.image_size)
    listener = ProgressListener()
    trainer = TimedTrainer(
        prepared.network, learned, judged, recipe=stage.recipe, config=stage.config, folder=folder, clock=clock,
        listener=listener,
    )  # fmt: skip
    try:
        trainer.run()
    finally:
        listener.close()
    return stage_facts(folder, len(learned))


def keep_weights(folder: Path, output: Path, judged: Dataset, stage: Stage) -> dict[str, Any]:
    """Copy the best weights in float16, and measure them where that can be done."""
    loaded = weights.load(folder / BEST)
    facts = {**loaded.provenance, "float32_sha256": loaded.sha256}
    weights.save(output / "builtin.safetensors", loaded.network, loaded.class_names, facts, half=True)
    shutil.copy(folder / TABLE, output / TABLE)
    if not any(map(find_spec, EVALUATORS)):
        return {"float32_sha256": loaded.sha256}
    size, device = stage.config.image_size, stage.config.device
    pipeline = make_pipeline(loaded.network.to(device), loaded.class_names, size, device, "fp32")
    metrics = dict(validate(pipeline, judged).metrics)
    return {"float32_sha256": loaded.sha256, "metrics": metrics}


def write_facts(output: Path, facts: dict[str, Any], speeds: Sequence[network_speed.Speed]) -> None:
    """Write everything that is known so far, as JSON and as tables."""
    lines = [f"# On {facts['device']}, torch {facts['torch']}", ""]
    if stage := facts.get("stage"):
        epochs = stage["config"]["epochs"]
        lines += [f"{epochs} epochs, {stage['passes']} pictures in {stage['seconds']:.0f} s: "
                  f"{stage['images_per_second']:.0f} images/s."]  # fmt: skip
        if metrics := facts["weights"].get("metrics"):
            lines += [f"AP {metrics['AP']:.4f}, AP50 {metrics['AP50']:.4f}."]
        lines += [""]
    lines += table_lines(network_speed.COLUMNS, [each.cells() for each in speeds])
    content = {**facts, "speeds": [asdict(each) for each in speeds]}
    texts = {"on_gpu.json": json.dumps(content, indent=1), "on_gpu.md": "\n".join(lines)}
    for name, text in texts.items():
        with atomic_file(output / name) as draft:
            draft.write_text(text + "\n", encoding="utf-8")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    config = ON_GPU.config
    parser.add_argument("--data", type=Path, help="a packed data set")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--seconds", type=float, default=480, help="from the start to the end of the training"
    )
    parser.add_argument("--weights", default=str(builtin.weights_path()), help="or a network's name")
    parser.add_argument("--device", default=config.device)
    parser.add_argument("--epochs", type=int, default=config.epochs, help="at most")
    parser.add_argument("--batch", type=int, default=config.batch_size)
    parser.add_argument("--imgsz", type=int, default=config.image_size)
    parser.add_argument("--workers", type=int, default=config.workers)
    parser.add_argument("--skip-training", action="store_true")
    parser.add_argument("--skip-speed", action="store_true")
    parser.add_argument("--networks", nargs="+", default=list(specs.names()), help="whose speed is measured")
    parser.add_argument("--speed-imgsz", type=int, default=0, help="in place of each network's own")
    parser.add_argument("--speed-seconds", type=float, default=network_speed.SECONDS, help="of a figure")
    parser.add_argument("--published", type=Path, help="a checkout of the published code")
    options = parser.parse_args(arguments)
    if not options.skip_training and options.data is None:
        parser.error("--data is missing: packed_data.py makes it")
    return options


def stage_of(options: argparse.Namespace) -> Stage:
    """The stage by the options; on a CPU in float32, and nothing is compiled."""
    cuda = options.device.startswith("cuda")
    config = replace(
        ON_GPU.config, epochs=options.epochs, batch_size=options.batch, image_size=options.imgsz,
        workers=options.workers, device=options.device, compile=cuda, precision="bf16" if cuda else "fp32",
    )  # fmt: skip
    plain = min(ON_GPU.recipe.plain_epochs, options.epochs // 2)
    return Stage(ON_GPU.name, config, replace(ON_GPU.recipe, nominal_batch=options.batch, plain_epochs=plain))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, then measure, from the command line."""
    clock_start = time.monotonic()
    options = parse(arguments)
    stage = stage_of(options)
    cuda = options.device.startswith("cuda")
    facts: dict[str, Any] = {
        "device": torch.cuda.get_device_name(options.device) if cuda else "CPU",
        "torch": torch.__version__,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        if not options.skip_training:
            parts = unpack(options.data, Path(scratch) / "data")
            clock = Clock(time.monotonic(), clock_start + options.seconds)
            folder = Path(scratch) / stage.name
            facts["stage"] = train_for(clock, stage, parts, options.weights, folder)
            facts["weights"] = keep_weights(folder, options.output, parts[PARTS[1]], stage)
            write_facts(options.output, facts, [])
    speeds: list[network_speed.Speed] = []

    def done(speed: network_speed.Speed) -> None:
        speeds.append(speed)
        write_facts(options.output, facts, speeds)

    if not options.skip_speed:
        network_speed.measure(
            options.networks, device=options.device, checkout=options.published, size=options.speed_imgsz,
            seconds=options.speed_seconds, done=done,
        )  # fmt: skip
        print_table(network_speed.COLUMNS, [each.cells() for each in speeds])
    note(f"written to {options.output}")


if __name__ == "__main__":
    main()
