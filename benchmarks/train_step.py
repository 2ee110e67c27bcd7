"""Where a training step's time goes: `python benchmarks/train_step.py`.

Generated scenes with crowded labels; data (one process, images in memory), forward, assignment + loss,
backward, optimiser with EMA. On an accelerator every stage is waited for, so that stages can be told apart.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import torch

from edgeyolo.datasets import Dataset, Sample
from edgeyolo.models.network import build
from edgeyolo.scenes import CLASS_NAMES, make_scene
from edgeyolo.training.augment import Picture
from edgeyolo.training.batches import AugmentedSet, EpochBatches, collate
from edgeyolo.training.config import TrainConfig
from edgeyolo.training.phases import Phase
from edgeyolo.training.pictures import PictureStore
from edgeyolo.training.processes import Processes
from edgeyolo.training.recipe import recipe_for
from edgeyolo.training.schedule import Schedule
from edgeyolo.training.session import autocast
from edgeyolo.training.step import Stepper

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
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    recipe = recipe_for(options.network)
    config = TrainConfig(
        batch_size=options.batch, image_size=options.imgsz, precision=options.precision, device=options.device
    )
    stepper = Stepper(
        build(options.network, len(CLASS_NAMES)), recipe, config, Schedule(recipe, 10, 100, 64), Processes()
    )
    stepper.train_mode(options.imgsz)
    phase = Phase(options.imgsz, recipe)
    pictures = AugmentedSet(Scenes(options.imgsz), lambda _: phase, seed=0)
    batches = EpochBatches(SCENES, min(options.batch, SCENES), seed=0)
    times: dict[str, list[float]] = defaultdict(list)
    for number in range(options.steps + 1):
        batches.begin(number)
        one_step(stepper, pictures, [place for batch in batches for place in batch], times)
    best = {name: min(values[1:]) for name, values in times.items()}
    total = sum(best.values())
    print(
        f"{options.network} {options.imgsz} px, batch {options.batch}, {options.precision}, {options.device}"
    )
    for name, seconds in best.items():
        print(f"  {name:18} {seconds * 1e3:9.1f} ms {seconds / total:6.1%}")
    print(f"  {'step':18} {total * 1e3:9.1f} ms, {options.batch / total:.1f} images/s")


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
