"""Detector beside the bare runtime: what everything outside the network costs.

    python benchmarks/scripts/overhead.py [--write] [--target cpu-openvino-fp32 ...]

A 1080p picture in memory. In turns, one call of `detector(image)` and one of the runtime's session on the prepared
array; the ratio is that of the medians. yolov7-tiny at 640 with random weights, and the demo's network at 320, which
takes a few milliseconds.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from pre_post import photograph
from result_files import write

from edgeyolo import Detector
from edgeyolo.export import ExportOptions, export
from edgeyolo.support.machine import cores, processor_name

TARGETS = ("cpu-onnx-fp32", "cpu-openvino-fp32", "cpu-tflite-fp32")
NETWORKS = {"yolov7-tiny": 640, "demo": 320}
LIMITS = {"yolov7-tiny": 1.03, "demo": 1.15}


def paired(detector: Detector, seconds: float) -> dict[str, float]:
    """Milliseconds of the network alone and of the detector, medians, and their ratio."""
    image = photograph()
    batch = detector.pipeline.preprocess([image])[0].copy()
    run = detector.pipeline.session.run
    alone: list[float] = []
    whole: list[float] = []
    end = perf_counter() + seconds
    while len(alone) < 20 or perf_counter() < end:
        start = perf_counter()
        run(batch)
        between = perf_counter()
        found = detector(image)
        whole.append(perf_counter() - between)
        alone.append(between - start)
    del alone[:5], whole[:5]
    network, total = (1e3 * statistics.median(times) for times in (alone, whole))
    quick = [1e3 * float(np.percentile(times, 10)) for times in (alone, whole)]
    return {
        "network ms": round(network, 3),
        "detector ms": round(total, 3),
        "ratio": round(total / network, 4),
        "ratio of 10th percentiles": round(quick[1] / quick[0], 4),
        "detections": len(found),
        "runs": len(alone),
    }


def weights(folder: Path) -> dict[str, Path]:
    """Weights files by network."""
    from edgeyolo.models.specs import get
    from edgeyolo_bench.measure.random_weights import save_random

    save_random(folder / "tiny.safetensors", get("yolov7-tiny"))
    scenes = Path(__file__).parents[1] / "weights/scenes.safetensors"
    return {"yolov7-tiny": folder / "tiny.safetensors", "demo": scenes}


def main() -> None:
    """Measure, print, and with --write leave benchmarks/results/overhead.json and .md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", action="append", help="measure these instead of " + ", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=15.0, help="of each network on each target")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/overhead.*")
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="edgeyolo-overhead-") as place:
        for name, path in weights(Path(place)).items():
            size = NETWORKS[name]
            for target in options.target or TARGETS:
                artifact = export(
                    path, target, Path(place) / f"{name}-{target}", ExportOptions(size=(size, size))
                )
                with Detector(artifact.path) as detector:
                    row = paired(detector, options.seconds)
                results[f"{name} {size}, {target}"] = row | {"limit": LIMITS[name]}
                print(f"{name} {size}, {target}", row, flush=True)
    if options.write:
        _write(results)


def _write(results: dict[str, dict[str, float]]) -> None:
    facts: dict[str, Any] = {
        "processor": processor_name(),
        "cores": cores(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        "results": results,
    }
    lines = [
        f"{processor_name()}, {cores()} cores. From a 1080p picture in memory, calls in turns, medians.",
        "",
        "| network | the network alone | detector | ratio | at most |",
        "|---|---|---|---|---|",
    ]
    for name, row in results.items():
        lines.append(
            f"| {name} | {row['network ms']:.2f} ms | {row['detector ms']:.2f} ms | {row['ratio']:.3f} | "
            f"{row['limit']} |"
        )
    write("overhead", facts, lines)


if __name__ == "__main__":
    main()
