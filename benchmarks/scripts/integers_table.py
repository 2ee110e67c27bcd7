"""Table of the AP that integers cost.

Every INT8 target on three evaluation sets, beside what vendors publish.

    python benchmarks/scripts/integers_table.py --data ../shared/data

DATA is a folder with `bccd/`, `voc2007/` and `checkpoints/yolov7-tiny-bccd-256.pt`; the third set is of generated
scenes. What was measured before is not measured again. Writes benchmarks/results/integers-{bccd,voc,scenes} (see
`integers.py`) and, from those, benchmarks/results/integers.json and .md. `--page` only writes the latter.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import result_files
from integers import TARGETS

from edgeyolo_bench.render.markdown import table_lines

HERE = Path(__file__).parent
WEIGHTS = HERE.parent / "weights"


@dataclass(frozen=True)
class Set:
    """An evaluation set with the network that is judged on it."""

    name: str
    title: str
    arguments: tuple[str, ...]


SETS = (
    Set(
        "integers-bccd", "blood cells, yolov7-tiny at 256 (LeakyReLU)",
        ("{data}/checkpoints/yolov7-tiny-bccd-256.pt", "--data", "{data}/bccd", "--split", "val,test",
         "--calib", "{data}/bccd", "--imgsz", "256"),
    ),
    Set(
        "integers-voc", "VOC 2007, the built-in network at 320 (ReLU6)",
        (f"{WEIGHTS}/builtin.safetensors", "--data", "{data}/voc2007", "--split", "val",
         "--calib", "{data}/voc2007", "--imgsz", "320"),
    ),
    Set(
        "integers-scenes", "generated scenes, half-width yolov7-tiny-silu at 320",
        (f"{WEIGHTS}/scenes.safetensors", "--scenes", "300", "--imgsz", "320"),
    ),
)  # fmt: skip

PUBLISHED = (
    ("yolov7", "Hailo-8", 2.65, "Hailo"),
    ("yolov7-tiny", "Hailo-8", 0.93, "Hailo"),
    ("yolov7-e6", "Hailo-8", 2.23, "Hailo"),
    ("yolov7", "Jetson Orin, TensorRT's entropy calibration", 5.5, "NVIDIA"),
    ("yolov7", "Jetson Orin, Q/DQ with mean squared error", 0.24, "NVIDIA"),
    ("yolov7", "Jetson Orin, quantization-aware training", 0.11, "NVIDIA"),
    ("two networks of libreyolo", "TFLite", 3.7, "libreyolo"),
    ("two networks of libreyolo", "TFLite", 7.5, "libreyolo"),
)
"""Network, how, AP points lost on COCO, and who says so."""

METHOD = """Every figure is the AP of the float network less that of the artifact itself, made by the whole export
(`edgeyolo export --calib`), on the same images; in brackets a 95 % interval by a paired bootstrap over the images (500
draws). Calibration images are others than those judged on. What runs an artifact that has no device here stands in its
row: TensorRT's graph in ONNX Runtime, rounding where its quantizers round; the edge TPU's file in LiteRT on the CPU,
the same integers; Core ML's in an interpreter of its operators; Hexagon's compiled binary in Qualcomm's emulator, on
at most 200 images, for it takes a second or two an image. What others publish is of COCO's 5,000 images and of full
networks: it stands here for the size of what is lost, not as a race."""


def measure(data: str, chosen: list[str]) -> None:
    """Measure what is missing, set by set."""
    for each in SETS:
        if each.name in chosen:
            arguments = [argument.format(data=data) for argument in each.arguments]
            command = [sys.executable, str(HERE / "integers.py"), *arguments, "--name", each.name, "--resume"]
            subprocess.run(command, check=True)


def rows_of(name: str) -> tuple[dict[str, Any], dict[tuple[str, str], dict[str, Any]]]:
    """Facts of a set's file, and its rows by (how, target)."""
    path = result_files.RESULTS / f"{name}.json"
    if not path.exists():
        return {}, {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return found, {(row["how"], row["target"]): row for row in found.pop("rows")}


def lost(row: dict[str, Any] | None, whole: int) -> str:
    """Points lost with their interval, or why there are none."""
    if row is None:
        return "not measured"
    if "refused" in row:
        return "refused"
    low, high = row["interval"]
    images = row.get("images", whole)
    few = f", {images} images" if images < whole else ""
    return f"{row['lost']:+.2f} ({low:+.2f} to {high:+.2f}{few})"


def page() -> None:
    """Write the table from the sets' files."""
    sets = [(each, *rows_of(each.name)) for each in SETS]
    order = list(dict.fromkeys(key for _, _, rows in sets for key in rows if key[0] != "float"))
    rows = []
    for how, target in sorted(order, key=lambda key: _rank(key, order)):
        cells = [lost(found.get((how, target)), about.get("images", 0)) for _, about, found in sets]
        there = [found[how, target] for _, _, found in sets if (how, target) in found]
        runs = next((row["run_by"] for row in there if "run_by" in row), "")
        rows.append((how, target, *cells, runs))
    columns = ("how", "target", *(each.title for each in SETS), "run by")
    about = [
        f"- {each.title}: {facts['images']} images of {facts['data']}, "
        f"float AP {found['float', 'cpu-onnx-fp32']['AP']:.4f}; calibrated on {facts['calibration']}."
        for each, facts, found in sets
        if found
    ]
    published = [(network, how, f"{points:+.2f}", source) for network, how, points, source in PUBLISHED]
    refusals = [
        f"- {each.title}: {row['refused'].rstrip(':')}"
        for each, _, found in sets
        for row in found.values()
        if "refused" in row
    ]
    lines = [
        "AP points lost to integers.", "", METHOD, "", *about, "", *table_lines(columns, rows), "", *refusals, "",
        "What others publish for networks of this kind:", "",
        *table_lines(("network", "how", "points lost on COCO", "source"), published),
    ]  # fmt: skip
    facts = {
        "sets": {each.name: about for each, about, _ in sets},
        "rows": [
            dict(zip(("how", "target", *(each.name for each in SETS), "run_by"), row, strict=True))
            for row in rows
        ],
        "published": [dict(zip(("network", "how", "lost", "source"), row, strict=True)) for row in PUBLISHED],
    }
    result_files.write("integers", facts, lines)


def _rank(key: tuple[str, str], order: list[tuple[str, str]]) -> tuple[int, int]:
    """Ours by target first, in the order of `TARGETS`; the rest as they stand."""
    how, target = key
    known = TARGETS.index(target) if how == "calibrated" and target in TARGETS else len(TARGETS)
    return known, order.index(key)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="the folder with bccd/, voc2007/ and checkpoints/")
    parser.add_argument("--sets", default=",".join(each.name for each in SETS))
    parser.add_argument(
        "--page", action="store_true", help="write the page of what is there, measure nothing"
    )
    options = parser.parse_args()
    if not (options.page or options.data):
        parser.error("--data DATA, or --page")
    if not options.page:
        measure(options.data, options.sets.split(","))
    page()


if __name__ == "__main__":
    main()
