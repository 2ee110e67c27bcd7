"""Pictures per second and worker of the whole training pipeline.

`python benchmarks/scripts/data_loading.py DATA`.

Mosaic, warp, mixup, paste-in, colour and flips as the recipe says, for each way of keeping images in memory. One
worker is one process with one thread; several share nothing but the files, so the rates add up as far as there are
cores.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import cv2

from edgeyolo.cli.console import print_table
from edgeyolo.datasets import Dataset, load_dataset
from edgeyolo.training.data.batches import AugmentedSet, EpochBatches, collate
from edgeyolo.training.data.phases import Phase
from edgeyolo.training.data.pictures import Cache, PictureStore
from edgeyolo.training.recipe import find_recipe

CACHES: tuple[Cache, ...] = ("none", "encoded", "pixels")
COLUMNS = ("pixels", "recipe", "images kept", "images/s per worker", "seconds to fill")


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
            f"{self.filled:.1f}",
        )


def measure(dataset: Dataset, size: int, recipe: str, cache: Cache, seconds: float) -> Rate:
    """Load batches of 16 for about so many seconds, in this process."""
    cv2.setNumThreads(1)
    store = PictureStore(dataset, cache=cache, size=size)
    start = time.perf_counter()
    if cache != "none":
        store.fill()
    filled = time.perf_counter() - start
    phase = Phase(size, find_recipe(recipe))
    pictures = AugmentedSet(store, lambda _: phase, seed=0)
    batches = EpochBatches(len(store), 16, seed=0)
    done, epoch, start = 0, 0, time.perf_counter()
    while True:
        batches.begin(epoch)
        for places in batches:
            done += len(collate([pictures[place] for place in places]).images)
            if (spent := time.perf_counter() - start) > seconds:
                return Rate(size, recipe, cache, done / spent, filled)
        epoch += 1


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--split", default="train")
    parser.add_argument("--imgsz", type=int, nargs="+", default=[320, 640])
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    dataset = load_dataset(options.data, options.split, polygons=True)
    print(f"{options.data}: {len(dataset)} images")
    sizes = ((size, cache) for size in options.imgsz for cache in CACHES)
    rates = [measure(dataset, size, options.recipe, cache, options.seconds) for size, cache in sizes]
    print_table(COLUMNS, [rate.cells() for rate in rates])


if __name__ == "__main__":
    main()
