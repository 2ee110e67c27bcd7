"""Pre- and post-processing on their own.

`python benchmarks/scripts/pre_post.py [--json]`.

Pre-processing: a 1920 x 1080 image in memory to a 640 x 640 float32 input. Post-processing: raw maps of an
80-class network at 640 with 100 cells above the threshold, to boxes in the image. Medians and 90th
percentiles over many runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.runtime.postprocess import DISPLAY, EVALUATION, PostprocessConfig, decode, postprocess
from edgeyolo.runtime.preprocess import Letterbox, Preprocessor

# yolov7's anchors for 640 x 640, in pixels.
OUTPUT = RawMaps(
    names=("p3", "p4", "p5"),
    strides=(8, 16, 32),
    anchors=(
        ((12, 16), (19, 36), (40, 28)),
        ((36, 75), (76, 55), (72, 146)),
        ((142, 110), (192, 243), (459, 401)),
    ),
    classes=80,
)
LIMITS = {"preprocess_1080p_to_640": 1.0, "postprocess_100_candidates": 0.5}


def photograph() -> NDArray[np.uint8]:
    """A 1080p image (1080, 1920, 3) BGR uint8 with structure at all scales."""
    rng = np.random.default_rng(0)
    picture = np.zeros((1080, 1920, 3), np.float32)
    for cells in (4, 16, 64, 256):
        noise = rng.uniform(0, 64, (cells, cells, 3)).astype(np.float32)
        picture += np.asarray(cv2.resize(noise, (1920, 1080), interpolation=cv2.INTER_CUBIC))
    return np.clip(picture, 0, 255).astype(np.uint8)


def raw_maps(candidates: int, objects: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Raw maps of one image.

    `candidates` cells above 0.25 in clusters around `objects`, the rest far below.

    Three quarters of the candidates are on the finest level, as in a photograph of many small objects.
    """
    rng = np.random.default_rng(seed)
    maps = {}
    shares = (0.72, 0.22, 0.06)
    for name, shape, share in zip(OUTPUT.names, OUTPUT.shapes(1, (640, 640)), shares, strict=True):
        anchors, height, width = 3, shape[2], shape[3]
        values = rng.normal(0, 1, (anchors, 85, height * width)).astype(np.float32)
        values[:, 4] = rng.normal(-9, 1, (anchors, height * width))
        values[:, 5:] -= 10
        centers = rng.integers(0, height * width, objects)
        kind = rng.integers(0, 80, objects)
        near = rng.integers(0, objects, round(candidates * share * 4))
        cell = (centers[near] + rng.integers(-1, 2, len(near)) + width * rng.integers(-1, 2, len(near))) % (
            height * width
        )
        anchor = rng.integers(0, anchors, len(near))
        _, first = np.unique(anchor * height * width + cell, return_index=True)
        chosen = rng.permutation(first)[: round(candidates * share)]
        values[anchor[chosen], 4, cell[chosen]] = rng.uniform(1.5, 4, len(chosen))
        values[anchor[chosen], 5 + kind[near[chosen]], cell[chosen]] = rng.uniform(2, 5, len(chosen))
        maps[name] = values.reshape(shape)
    return maps


def measure(call: Callable[[], object], seconds: float = 2.0, least: int = 200) -> dict[str, float]:
    """Milliseconds of `call`.

    Median and 90th percentile over at least `least` runs and `seconds`.
    """
    for _ in range(20):
        call()
    times: list[float] = []
    end = perf_counter() + seconds
    while len(times) < least or perf_counter() < end:
        start = perf_counter()
        call()
        times.append((perf_counter() - start) * 1e3)
    return {"median": float(np.median(times)), "p90": float(np.percentile(times, 90)), "runs": len(times)}


def crowded(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Raw maps where every one of the 25,200 cells is above 0.001.

    The worst case of evaluation.
    """
    rng = np.random.default_rng(seed)
    shapes = OUTPUT.shapes(1, (640, 640))
    return {
        name: rng.normal(-2, 1.5, shape).astype(np.float32)
        for name, shape in zip(OUTPUT.names, shapes, strict=True)
    }


def candidate_count(maps: dict[str, NDArray[np.float32]], config: PostprocessConfig) -> int:
    """Boxes that enter the suppression."""
    return len(decode(maps, OUTPUT, config))


def run(seconds: float) -> dict[str, dict[str, float]]:
    """Every measurement, by name."""
    image = photograph()
    box = Letterbox.fit((1080, 1920), (640, 640))
    preprocessor = Preprocessor(InputContract(640, 640))
    raw = Preprocessor(InputContract(640, 640, layout="NHWC", dtype="uint8"))
    hundred, thousand, full = raw_maps(100, 20), raw_maps(1260, 60), crowded()
    results = {
        "preprocess_1080p_to_640": measure(lambda: preprocessor([image]), seconds),
        "preprocess_1080p_to_640_uint8_nhwc": measure(lambda: raw([image]), seconds),
    }
    for name, maps, config in (
        ("postprocess_100_candidates", hundred, DISPLAY),
        ("postprocess_1260_candidates", thousand, DISPLAY),
        ("postprocess_100_candidates_evaluation", hundred, EVALUATION),
        ("postprocess_25200_cells_evaluation", full, EVALUATION),
    ):
        timing = measure(partial(postprocess, maps, OUTPUT, [box], config), seconds, 20)
        results[name] = timing | {"candidates": candidate_count(maps, config)}
    return results


def main() -> None:
    """Print the measurements; exit with 1 where a median misses its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, default=2.0, help="least time for each measurement")
    options = parser.parse_args()
    results = run(options.seconds)
    if options.json:
        print(json.dumps({"unit": "ms", "limits": LIMITS, "results": results}, indent=2))
    else:
        print(f"{'milliseconds':<42}{'median':>9}{'p90':>9}{'runs':>8}{'limit':>8}")
        for name, row in results.items():
            limit = f"{LIMITS[name]:.1f}" if name in LIMITS else ""
            print(f"{name:<42}{row['median']:>9.3f}{row['p90']:>9.3f}{row['runs']:>8.0f}{limit:>8}")
    if any(results[name]["median"] > limit for name, limit in LIMITS.items()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
