"""Float planes or uint8 pictures, suppression on host or in graph.

They are measured end to end, in turns.

    python benchmarks/scripts/graph_ends.py --weights benchmarks/weights/scenes.safetensors -o benchmarks/results

Every target is exported four times (float or uint8 input, host or graph suppression); then all take turns, one picture
at a time, so that what else the machine does falls on all of them. The ratio is the median over turns of the time
beside that of float and host in the same turn: below 1 is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgeyolo import Detector
from edgeyolo.backend.registry import open_calibration
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.export import ExportOptions, export
from edgeyolo.runtime.postprocess_config import PostprocessConfig
from edgeyolo.support.files import atomic_file

TARGETS = ("cpu-onnx-fp32", "cpu-onnx-int8", "cpu-openvino-fp32", "cpu-openvino-int8")
FORMS = {
    "float, host": (None, "float"),
    "uint8, host": (None, "uint8"),
    "float, graph": (PostprocessConfig(), "float"),
    "uint8, graph": (PostprocessConfig(), "uint8"),
}
BASE = "float, host"


def measure(weights: Path, target: str, size: int, turns: int, threads: int) -> dict[str, Any]:
    """Milliseconds and ratios of a target's four forms."""
    pictures = [cv2.resize(make_scene(seed).image, (1920, 1080)) for seed in range(8)]
    with tempfile.TemporaryDirectory(prefix="edgeyolo-edges-") as folder, ExitStack() as stack:
        detectors, parity = {}, {}
        for name, (nms, form) in FORMS.items():
            place = Path(folder) / name.replace(", ", "-")
            options = ExportOptions(size=(size, size), nms=nms, input=form, calibration=_calibration(folder))
            artifact = export(weights, target, place, options)
            assert artifact.manifest.parity is not None
            parity[name] = artifact.manifest.parity.worst
            detectors[name] = stack.enter_context(Detector(place, threads=threads))
        for detector in detectors.values():
            for picture in pictures[:4]:
                detector.timed([picture])
        stages: dict[str, list[dict[str, float]]] = {name: [] for name in detectors}
        for turn in range(turns):
            order = list(detectors)[turn % 4 :] + list(detectors)[: turn % 4]
            for name in order:
                times = detectors[name].timed([pictures[turn % len(pictures)]])[1]
                stages[name].append(asdict(times) | {"total": times.total})
    return {name: _summary(rows, stages[BASE], parity[name]) for name, rows in stages.items()}


def _summary(rows: list[dict[str, float]], base: list[dict[str, float]], parity: float) -> dict[str, Any]:
    total = np.array([row["total"] for row in rows])
    beside = np.array([row["total"] for row in base])
    ratios = np.sort(total / beside)
    spread = 1.96 * np.sqrt(len(ratios)) / 2  # ranks of a median's 95 % interval
    low, high = (int(np.clip(len(ratios) / 2 + side, 0, len(ratios) - 1)) for side in (-spread, spread))
    median = {name: float(np.median([row[name] for row in rows])) for name in rows[0]}
    return {
        "ms": median,
        "ratio": float(np.median(ratios)),
        "interval": [float(ratios[low]), float(ratios[high])],
        "ratio_of_best": float(total.min() / beside.min()),
        "parity": parity,
    }


def _calibration(folder: str) -> Any:
    place = Path(folder) / "calibration"
    if not place.exists():
        place.mkdir()
        for seed in range(100, 116):
            cv2.imwrite(str(place / f"{seed}.png"), make_scene(seed).image)
    return open_calibration(str(place), images=16)


def table(results: dict[str, Any], size: int, turns: int) -> str:
    """The results as Markdown."""
    lines = [
        f"Float planes or uint8 pictures, suppression on the host or in the graph: 1080p to {size}, {turns} turns.",
        "Ratio: end to end beside `float, host` in the same turn, median and 95 % interval; milliseconds are medians.",
        "",
        "| target | input, suppression | pre | run | post | total | ratio | of the best turns | deviation |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for target, forms in results.items():
        for name, row in forms.items():
            ms, (low, high) = row["ms"], row["interval"]
            times = " | ".join(
                f"{ms[stage]:.2f}" for stage in ("preprocess", "inference", "postprocess", "total")
            )
            lines.append(
                f"| {target} | {name} | {times} | {row['ratio']:.3f} ({low:.3f} to {high:.3f}) | "
                f"{row['ratio_of_best']:.3f} | {row['parity']:.0e} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print the table, and write it with -o."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, default=Path("benchmarks/weights/scenes.safetensors"))
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-o", "--output", type=Path, help="folder for graph-ends.json and graph-ends.md")
    options = parser.parse_args()
    results = {
        target: measure(options.weights, target, options.imgsz, options.turns, options.threads)
        for target in options.targets.split(",")
    }
    text = table(results, options.imgsz, options.turns)
    print(text)
    if options.output:
        facts = {"imgsz": options.imgsz, "turns": options.turns, "threads": options.threads}
        facts |= {"machine": platform.machine(), "python": platform.python_version()}
        with atomic_file(options.output / "graph-ends.json") as draft:
            draft.write_text(json.dumps(facts | {"results": results}, indent=2) + "\n", encoding="utf-8")
        with atomic_file(options.output / "graph-ends.md") as draft:
            draft.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
