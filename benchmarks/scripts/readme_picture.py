"""README's picture of detections.

They are drawn by `Detections.plot`, and by supervision's annotators.

python benchmarks/scripts/readme_picture.py [--output docs/pictures/detections.jpg]

A generated scene and the demo's weights, so that the picture is this project's own. Needs `pip install supervision`,
which brings an opencv-python of its own: best in an environment apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import supervision
from demo import SIDE, WEIGHTS

from edgeyolo import Detections, Detector
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.runtime.pixel_values import Pixels

SCENE = 2006  # as the demo draws
DRAWN = Path(__file__).parents[2] / "docs" / "pictures" / "detections.jpg"


def by_supervision(picture: Pixels, detections: Detections) -> Pixels:
    """The picture with corners and labels in the colours of supervision's palette."""
    found = detections.to_supervision()
    labels = [
        f"{name} {score:.2f}" for name, score in zip(found.data["class_name"], found.confidence, strict=True)
    ]
    drawn = supervision.BoxCornerAnnotator(thickness=3).annotate(picture.copy(), found)
    return np.asarray(supervision.LabelAnnotator().annotate(drawn, found, labels), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=DRAWN)
    options = parser.parse_args()
    picture = make_scene(SCENE).image
    with Detector(WEIGHTS, size=SIDE, conf=0.445) as detector:
        detections = detector(picture)
    halves = [detections.plot(picture), by_supervision(picture, detections)]
    gap = np.full((picture.shape[0], 8, 3), 255, np.uint8)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(options.output), np.hstack([halves[0], gap, halves[1]]), [cv2.IMWRITE_JPEG_QUALITY, 88])
    print(f"{detections!r}, drawn into {options.output}")


if __name__ == "__main__":
    main()
