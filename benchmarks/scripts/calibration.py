"""Costs of calibration beside their limits.

The peak memory of the pass over the images, the time of the command.

python benchmarks/scripts/calibration.py memory        yolov7 at 640 with 500 images, at most 1.5 GB
python benchmarks/scripts/calibration.py time          yolov7-tiny at 640 with 300 images, at most 4 minutes on 2 cores
                        [--images N] [--imgsz 640] [--network NAME]

The images are generated scenes, as JPEG files of 640 x 480; the weights are random, which changes neither figure. What
is measured runs in a process of its own. `memory` is of decoding, the network and the statistics, the part that would
grow with images and size; `time` is of the whole `edgeyolo calibrate`: weights, tracing, the pass, the report. Writes
benchmarks/results/calibration-memory.json or calibration-time.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import isolated
from result_files import RESULTS

from edgeyolo.cli.console import note, print_table, progress
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.support.files import atomic_file

DEFAULTS = {"memory": ("yolov7", 500), "time": ("yolov7-tiny", 300)}
LIMITS = {"memory": 1.5e9, "time": 240.0}  # bytes, seconds
FIRST_SEED = 9000


def write_images(folder: Path, count: int) -> None:
    """Generated scenes as JPEG files."""
    folder.mkdir()
    with progress("generating scenes") as advance:
        for number in range(count):
            cv2.imwrite(str(folder / f"{number:05}.jpg"), make_scene(FIRST_SEED + number, (640, 480)).image)
            advance(number + 1, count)


PASS = """
import sys; from pathlib import Path
from edgeyolo.artifact.contracts import InputContract
from edgeyolo_calib.ranges.observe import observe
from edgeyolo_calib.images.source import open_images
model, images, count, size, keep = sys.argv[1:]
contract = InputContract(int(size), int(size))
observe(Path(model), contract, open_images(images, int(count)), keep=Path(keep))
"""

GRAPH = """
import shutil, sys; from pathlib import Path
from edgeyolo.export import ExportOptions
from edgeyolo.export.exporter import prepared
weights, size, model = sys.argv[1:]
with prepared(Path(weights), "jetson-trt-fp32", ExportOptions(size=(int(size), int(size)))) as source:
    shutil.copyfile(source.onnx(opset=17), model)
"""

COMMAND = "from edgeyolo.cli import main; main()"


def run(program: str, *arguments: object) -> tuple[float, int]:
    """Seconds and peak resident bytes of a Python process."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    spent = isolated.run(command, stdout=subprocess.DEVNULL)
    if spent.code:
        raise SystemExit(f"{arguments[0]} ended with exit code {spent.code}")
    return spent.seconds, spent.peak


def measure(what: str, folder: Path, images: int, size: int) -> tuple[float, int]:
    """Seconds and peak bytes of the pass over the images, or of the whole command."""
    weights, pictures = folder / "weights.safetensors", folder / "images"
    if what == "memory":
        run(GRAPH, weights, size, folder / "model.onnx")
        return run(PASS, folder / "model.onnx", pictures, images, size, folder / "ranges.json")
    common = ("--calib", pictures, "--calib-images", images, "--imgsz", size, "-o", folder / "out")
    return run(COMMAND, "calibrate", weights, *common)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=sorted(DEFAULTS))
    parser.add_argument("--network")
    parser.add_argument("--images", type=int)
    parser.add_argument("--imgsz", type=int, default=640)
    options = parser.parse_args()
    network, images = (
        options.network or DEFAULTS[options.what][0],
        options.images or DEFAULTS[options.what][1],
    )
    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as name:
        folder = Path(name)
        isolated.save_random(folder / "weights.safetensors", network)
        write_images(folder / "images", images)
        seconds, peak = measure(options.what, folder, images, options.imgsz)
    figures = {
        "memory": (peak, f"{peak / 1e9:.2f} GB", "1.5 GB"),
        "time": (seconds, f"{seconds:.0f} s", "240 s"),
    }
    value, shown, limit = figures[options.what]
    holds = value <= LIMITS[options.what]
    print_table(
        ("network", "size", "images", options.what, "limit", ""),
        [(network, options.imgsz, images, shown, limit, "holds" if holds else "EXCEEDED")],
    )
    # Only what was asked for: memory may be measured while other work slows it down.
    measured: dict[str, Any] = {"peak_bytes": peak} if options.what == "memory" else {"seconds": seconds}
    record: dict[str, Any] = {
        "network": network, "imgsz": options.imgsz, "images": images, **measured,
        "limit": LIMITS[options.what], "holds": holds, "cores": os.cpu_count(), "load": os.getloadavg()[0],
        "machine": platform.machine(), "python": platform.python_version(),
    }  # fmt: skip
    with atomic_file(RESULTS / f"calibration-{options.what}.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    note(f"written: {RESULTS / f'calibration-{options.what}.json'}")
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
