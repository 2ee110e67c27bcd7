"""Detect in every picture of a folder; save a CSV of what was found, and copies with boxes.

    python detect_folder.py PICTURES OUT [--model ARTIFACT] [--conf 0.25]

Without --model it takes the small model that comes with edgeyolo. The base install runs this: no torch.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import cv2

from edgeyolo import Detector, EdgeYoloError

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
BATCH = 8


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--conf", type=float, default=0.25)
    options = parser.parse_args()

    paths = sorted(path for path in options.pictures.iterdir() if path.suffix.lower() in SUFFIXES)
    options.out.mkdir(parents=True, exist_ok=True)
    with (
        Detector(options.model, conf=options.conf) as detector,
        (options.out / "found.csv").open("w", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(["picture", "name", "confidence", "x1", "y1", "x2", "y2"])
        for start in range(0, len(paths), BATCH):
            part = paths[start : start + BATCH]
            for path, detections in zip(part, detector.batch(part), strict=True):
                for each in detections:  # highest confidence first; boxes in pixels of the picture
                    corners = [f"{value:.1f}" for value in each.box]
                    table.writerow([path.name, each.name, f"{each.confidence:.3f}", *corners])
                cv2.imwrite(str(options.out / path.name), detections.plot(path))
                print(f"{path.name}: {detections}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgeYoloError as error:  # says what was expected, what was got, and what to do next
        sys.exit(f"{error.message}\n{error.hint}")
