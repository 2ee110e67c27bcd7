"""Pictures per second and worker of the whole training pipeline: `python benchmarks/data_loading.py DATA`.

Mosaic, warp, mixup, paste-in, colour and flips as the recipe says, for each way of keeping images in memory.
"""

from __future__ import annotations

import argparse
import time

import cv2

from edgeyolo.datasets import load_dataset
from edgeyolo.training.batches import AugmentedSet, EpochBatches, collate
from edgeyolo.training.phases import Phase
from edgeyolo.training.pictures import PictureStore
from edgeyolo.training.recipe import find_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--split", default="train")
    parser.add_argument("--imgsz", type=int, nargs="+", default=[320, 640])
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    dataset = load_dataset(options.data, options.split, polygons=True)
    print(f"{options.data}: {len(dataset)} images; recipe {options.recipe}; one process, one thread")
    for size in options.imgsz:
        for cache in ("none", "encoded", "pixels"):
            store = PictureStore(dataset, cache=cache, size=size)
            start = time.perf_counter()
            if cache != "none":
                store.fill()
            filled = time.perf_counter() - start
            phase = Phase(size, find_recipe(options.recipe))
            pictures = AugmentedSet(store, lambda _, phase=phase: phase, seed=0)
            batches = EpochBatches(len(store), 16, seed=0)
            done, start = 0, time.perf_counter()
            for places in batches:
                done += len(collate([pictures[place] for place in places]).images)
                if time.perf_counter() - start > options.seconds:
                    break
            rate = done / (time.perf_counter() - start)
            print(
                f"  {size:4} pixels, cache {cache:8} {rate:6.1f} pictures/s (filled in {filled:.1f} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()
