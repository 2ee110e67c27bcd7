"""Times of a training step: `python benchmarks/scripts/train_step.py`.

They show where its time goes.

Generated scenes with crowded labels; data (one process, images in memory), forward, assignment + loss,
backward, optimiser with EMA. On an accelerator every stage is waited for, so that stages can be told apart.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from edgeyolo.cli.console import print_table
from edgeyolo.datasets import Dataset, Sample
from edgeyolo.datasets.scenes import CLASS_NAMES, make_scene
from edgeyolo.models.build import build
from edgeyolo.training.config import Precision, TrainConfig
from edgeyolo.training.data.augment import Picture
from edgeyolo.training.data.batches import AugmentedSet, EpochBatches, collate
from edgeyolo.training.data.phases import Phase
from edgeyolo.training.data.pictures import PictureStore
from edgeyolo.training.loop.processes import Processes
from edgeyolo.training.loop.schedule import Schedule
from edgeyolo.training.loop.session import autocast
from edgeyolo.training.loop.step import Stepper
from edgeyolo.training.recipe import recipe_for

SCENES = 16


class Scenes(PictureStore):
    """Generated pictures, in memory."""

    def __init__(self, size: int) -> None:
        none = np.zeros(0)
        sample = Sample(Path("none"), 0, none.astype(np.int64), none.reshape(0, 4), none > 0, none > 0)
        names = CLASS_NAMES
        super().__init__(
            Dataset("scenes", "coco", Path("none"), names, tuple(range(len(names))), (sample,) * SCENES)
        )
        scenes = [make_scene(seed, (size * 3 // 4, size)) for seed in range(SCENES)]
        self._made = [Picture(scene.image, scene.boxes, scene.class_id) for scene in scenes]

    def __getitem__(self, index: int) -> Picture:
        return self._made[index]


@dataclass(frozen=True)
class Split:
    """Seconds of the fastest run of each stage of a training step."""

    network: str
    size: int
    batch: int
    precision: str
    device: str
    seconds: dict[str, float]

    @property
    def total(self) -> float:
        """Seconds of the whole step."""
        return sum(self.seconds.values())

    def sentence(self) -> str:
        """The measurement, and the whole, as a sentence."""
        return (
            f"{self.network} at {self.size} pixels, batch {self.batch}, {self.precision}, {self.device}: "
            f"{self.total * 1e3:.0f} ms a step, {self.batch / self.total:.1f} images/s"
        )

    def cells(self) -> list[tuple[str, ...]]:
        """A row for each stage: name, ms, share of the step."""
        return [
            (name, f"{value * 1e3:.1f}", f"{value / self.total:.1%}") for name, value in self.seconds.items()
        ]


COLUMNS = ("stage", "ms", "share")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="yolov7-tiny")
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    split = measure(
        options.network,
        options.imgsz,
        batch=options.batch,
        precision=options.precision,
        device=options.device,
        threads=options.threads,
        steps=options.steps,
    )
    print(split.sentence())
    print_table(COLUMNS, split.cells())


def measure(
    network: str, size: int, *, batch: int, precision: Precision, device: str, threads: int, steps: int
) -> Split:
    """Train `steps` steps, after one to warm up."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    recipe = recipe_for(network)
    config = TrainConfig(batch_size=batch, image_size=size, precision=precision, device=device)
    stepper = Stepper(
        build(network, len(CLASS_NAMES)), recipe, config, Schedule(recipe, 10, 100, 64), Processes()
    )
    stepper.train_mode(size)
    phase = Phase(size, recipe)
    pictures = AugmentedSet(Scenes(size), lambda _: phase, seed=0)
    batches = EpochBatches(SCENES, min(batch, SCENES), seed=0)
    times: dict[str, list[float]] = defaultdict(list)
    for number in range(steps + 1):
        batches.begin(number)
        one_step(stepper, pictures, [place for batch in batches for place in batch], times)
    best = {name: min(values[1:]) for name, values in times.items()}
    return Split(network, size, batch, precision, device, best)


def one_step(stepper: Stepper, pictures: AugmentedSet, places: list, times: dict[str, list[float]]) -> None:
    def note(name: str) -> None:
        nonlocal start
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times[name].append(time.perf_counter() - start)
        start = time.perf_counter()

    start = time.perf_counter()
    count = stepper.config.batch_size
    batch = collate([pictures[places[i % len(places)]] for i in range(count)])
    note("data")
    images = stepper._images(batch.images, 0)
    with autocast(stepper.config.device, stepper.config.precision):
        maps = stepper.network(images)
    note("forward")
    value = stepper.loss(maps, batch.targets)
    note("assignment + loss")
    value.total.backward()
    note("backward")
    stepper._step()
    note("optimiser + EMA")


if __name__ == "__main__":
    main()
