"""Pre- and post-processing on their own, on one thread.

`python benchmarks/scripts/pre_post.py [--json]`.

Pre-processing: a 1920 x 1080 image in memory, as BGR and as the planes of NV12, to a 640 x 640 float32 input.
Post-processing: raw maps of an 80-class network at 640 with 100 cells above the threshold, to boxes in the image; the
same as integers of a quantized file, channels last; and evaluation at a confidence of 0.001. Medians and 90th
percentiles over many runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import get_clock_info, perf_counter, thread_time

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, Quantization, RawMaps
from edgeyolo.runtime.planes import PlanarImage
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
# The thread's own time, which what else runs does not lengthen; on Windows it is too coarse.
clock = thread_time if get_clock_info("thread_time").resolution < 1e-5 else perf_counter
LIMITS = {
    "preprocess_1080p_to_640": 1.0,
    "postprocess_100_candidates": 0.5,
    "outside_the_network_bgr": 1.0,
    "outside_the_network_nv12": 0.7,
    "postprocess_1260_candidates_evaluation": 3.0,
    "postprocess_25200_cells_evaluation": 20.0,
}


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
    """Milliseconds of processor time of `call`.

    Median and 90th percentile over at least `least` runs and `seconds`.
    """
    for _ in range(20):
        call()
    times: list[float] = []
    end = perf_counter() + seconds
    while len(times) < least or perf_counter() < end:
        start = clock()
        call()
        times.append((clock() - start) * 1e3)
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


def nv12(image: NDArray[np.uint8]) -> PlanarImage:
    """The planes of an image."""
    height, width = image.shape[:2]
    i420 = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    chroma = i420[height:].reshape(2, height // 2, width // 2)
    return PlanarImage.of_nv12(
        np.ascontiguousarray(i420[:height]), np.ascontiguousarray(np.moveaxis(chroma, 0, 2))
    )


def quantized(maps: dict[str, NDArray[np.float32]]) -> tuple[dict[str, NDArray[np.int8]], RawMaps]:
    """The maps as a quantized file gives them: int8, channels last."""
    integers, stated = {}, []
    for name, values in maps.items():
        scale = float(np.ptp(values)) / 255
        zero = round(-128 - float(values.min()) / scale)
        rounded = np.rint(values.transpose(0, 2, 3, 1) / scale) + zero
        integers[name] = np.ascontiguousarray(np.clip(rounded, -128, 127), np.int8)
        stated.append(Quantization(scale, zero))
    return integers, replace(OUTPUT, layout="NHWC", dtype="int8", quantization=tuple(stated))


def run(seconds: float) -> dict[str, dict[str, float]]:
    """Every measurement, by name."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        results = _preprocessing(seconds) | _postprocessing(seconds)
    finally:
        cv2.setNumThreads(threads)
    for name, of in (("bgr", ""), ("nv12", "_nv12")):
        parts = results[f"preprocess_1080p_to_640{of}"], results["postprocess_100_candidates"]
        results[f"outside_the_network_{name}"] = {
            "median": sum(each["median"] for each in parts),
            "p90": sum(each["p90"] for each in parts),
            "runs": min(each["runs"] for each in parts),
        }
    return results


def _preprocessing(seconds: float) -> dict[str, dict[str, float]]:
    image = photograph()
    planes = nv12(image)
    preprocessor = Preprocessor(InputContract(640, 640))
    raw = Preprocessor(InputContract(640, 640, layout="NHWC", dtype="uint8"))
    return {
        "preprocess_1080p_to_640": measure(lambda: preprocessor([image]), seconds),
        "preprocess_1080p_to_640_nv12": measure(lambda: preprocessor([planes]), seconds),
        "preprocess_1080p_to_640_uint8_nhwc": measure(lambda: raw([image]), seconds),
    }


def _postprocessing(seconds: float) -> dict[str, dict[str, float]]:
    box = Letterbox.fit((1080, 1920), (640, 640))
    hundred, thousand, full = raw_maps(100, 20), raw_maps(1260, 60), crowded()
    integers, stated = quantized(hundred)

    def as_floats() -> object:
        reals = {
            name: each.real(integers[name])
            for name, each in zip(OUTPUT.names, stated.quantization, strict=True)
        }
        return postprocess(reals, stated, [box], DISPLAY)

    results: dict[str, dict[str, float]] = {}
    for name, maps, config in (
        ("postprocess_100_candidates", hundred, DISPLAY),
        ("postprocess_1260_candidates", thousand, DISPLAY),
        ("postprocess_100_candidates_evaluation", hundred, EVALUATION),
        ("postprocess_1260_candidates_evaluation", thousand, EVALUATION),
        ("postprocess_25200_cells_evaluation", full, EVALUATION),
    ):
        timing = measure(partial(postprocess, maps, OUTPUT, [box], config), seconds, 20)
        results[name] = timing | {"candidates": candidate_count(maps, config)}
    results["postprocess_100_candidates_int8"] = measure(
        partial(postprocess, integers, stated, [box], DISPLAY), seconds
    )
    results["postprocess_100_candidates_int8_as_floats"] = measure(as_floats, seconds)
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
