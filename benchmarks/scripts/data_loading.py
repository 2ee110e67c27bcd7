"""Pictures per second and worker of the whole training pipeline.

`python benchmarks/scripts/data_loading.py DATA`.

Mosaic, warp, mixup, paste-in, colour and flips as the recipe says, for each way of keeping images in memory. One
worker is one process with one thread; several share nothing but the files, so the rates add up as far as there are
cores. Times are of the processor, so that a busy machine changes little; ways of keeping images take turns, a batch
each. Writes benchmarks/results/data-loading.json and .md.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import cv2
from result_files import write

from edgeyolo.cli.console import print_table
from edgeyolo.datasets import Dataset, load_dataset
from edgeyolo.training.data.batches import AugmentedSet, EpochBatches, Place, collate
from edgeyolo.training.data.phases import Phase
from edgeyolo.training.data.pictures import Cache, PictureStore
from edgeyolo.training.recipe import find_recipe
from edgeyolo_bench.facts import Machine, Watch
from edgeyolo_bench.render.markdown import table_lines
from edgeyolo_bench.values.device import Interference

CACHES: tuple[Cache, ...] = ("none", "encoded", "pixels")
COLUMNS = ("pixels", "recipe", "images kept", "images/s per worker", "ms a batch of 16", "seconds to fill")
PUBLISHED = (
    "The published code took 92 ms for a batch of 16 at 256 from VOC 2007 (long side 384), recipe `tiny`, one thread, "
    "nothing kept; this project took 172 ms beside it when every picture was decoded whole and scaled twice. Both were "
    "measured once, together, on two quiet AMD EPYC cores."
)


@dataclass(frozen=True)
class Rate:
    """Rate of one worker for pictures of `size` pixels.

    `filled` is the seconds that the memory took before.
    """

    size: int
    recipe: str
    cache: str
    images_per_second: float
    filled: float

    def cells(self) -> tuple[str, ...]:
        """Row of COLUMNS."""
        return (
            str(self.size),
            self.recipe,
            self.cache,
            f"{self.images_per_second:.1f}",
            f"{16e3 / self.images_per_second:.1f}",
            f"{self.filled:.1f}",
        )


def measure(dataset: Dataset, size: int, recipe: str, cache: Cache, seconds: float) -> Rate:
    """Rate with one way of keeping images."""
    return measure_all(dataset, size, recipe, (cache,), seconds)[0]


def measure_all(
    dataset: Dataset, size: int, recipe: str, caches: Sequence[Cache], seconds: float
) -> list[Rate]:
    """Load the same batches of 16 in every way by turns.

    About so many seconds each, in this process.
    """
    cv2.setNumThreads(1)
    phase = Phase(size, find_recipe(recipe))
    sets, filled = [], []
    for cache in caches:
        store = PictureStore(dataset, cache=cache, size=size)
        start = time.process_time()
        if cache != "none":
            store.fill()
        filled.append(time.process_time() - start)
        sets.append(AugmentedSet(store, lambda _: phase, seed=0))
    spent, done = [0.0] * len(sets), 0
    for places in endless_batches(len(dataset)):
        for way, pictures in enumerate(sets):
            start = time.process_time()
            collate([pictures[place] for place in places])
            spent[way] += time.process_time() - start
        done += len(places)
        if min(spent) > seconds or max(spent) > 4 * seconds:
            break
    return [
        Rate(size, recipe, cache, done / each, fill)
        for cache, each, fill in zip(caches, spent, filled, strict=True)
    ]


def endless_batches(count: int) -> Iterator[list[Place]]:
    """Batches of 16 of one epoch after another."""
    batches = EpochBatches(count, 16, seed=0)
    for epoch in itertools.count():
        batches.begin(epoch)
        yield from batches


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--split", default="train")
    parser.add_argument("--imgsz", type=int, nargs="+", default=[256, 640])
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument(
        "--images", type=int, default=400, help="so many of them, as all fill the memory first"
    )
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    dataset = load_dataset(options.data, options.split, polygons=True)
    dataset = replace(dataset, images=dataset.images[: options.images])
    print(f"{options.data}: {len(dataset)} images")
    watch = Watch(Machine())
    rates = [
        rate
        for size in options.imgsz
        for rate in measure_all(dataset, size, options.recipe, CACHES, options.seconds)
    ]
    device = watch.finish(Interference())
    rows = [rate.cells() for rate in rates]
    print_table(COLUMNS, rows)
    about = (
        f"{device.cpu.model}, one thread, processor time, {len(dataset)} images; load average {watch.load}"
    )
    facts = {"device": asdict(device), "images": len(dataset), "rates": [asdict(rate) for rate in rates]}
    write(
        "data-loading", facts, ["# Data loading", "", about, "", *table_lines(COLUMNS, rows), "", PUBLISHED]
    )


if __name__ == "__main__":
    main()
