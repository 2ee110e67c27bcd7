"""Detections drawn by supervision's annotators: `pip install supervision` first.

python supervision_annotators.py photo.jpg drawn.png [--model ARTIFACT]
"""

from __future__ import annotations

import argparse
import sys

import cv2
import supervision

from edgeyolo import Detector
from edgeyolo.runtime.images import read_image


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("picture")
    parser.add_argument("out")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--conf", type=float, default=0.25)
    options = parser.parse_args()

    picture = read_image(options.picture)  # BGR, turned upright as its EXIF entry says: boxes are of that
    with Detector(options.model, conf=options.conf) as detector:
        found = detector(picture).to_supervision()
    labels = [
        f"{name} {score:.2f}" for name, score in zip(found.data["class_name"], found.confidence, strict=True)
    ]
    drawn = supervision.BoxAnnotator().annotate(picture.copy(), found)
    drawn = supervision.LabelAnnotator().annotate(drawn, found, labels)
    cv2.imwrite(options.out, drawn)
    print(f"{len(found)} objects, drawn into {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
