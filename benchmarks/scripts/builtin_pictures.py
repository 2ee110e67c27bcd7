"""A page of validation pictures with what there is to find beside what is found.

builtin_pictures.py --data D --output FOLDER [--model M] [--pictures 24] [--seed 0]

Writes FOLDER/page.jpg: random pictures in pairs, the labels on the left, on the right what the model shows by default.
The pictures are others' and stay on this machine: FOLDER may not be one that the repository ships.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from trainings import TRAININGS

from edgeyolo import Detector
from edgeyolo.cli.console import note
from edgeyolo.datasets import Dataset, load_dataset
from edgeyolo.datasets.values import Sample
from edgeyolo.detector import builtin
from edgeyolo.runtime.detections import Detections
from edgeyolo.runtime.images import read_image
from edgeyolo.support.files import atomic_file

ROOT = Path(__file__).parents[2]
COLUMNS = 3  # pairs in a row
CELL = (240, 240)  # pixels, height and width
_GAP = 6


def require_private(folder: Path) -> None:
    """Refuse a folder of the repository that is not among those it never ships."""
    place = folder.resolve()
    if place.is_relative_to(ROOT) and not place.is_relative_to(ROOT / "runs"):
        raise SystemExit(
            f"{folder}: the pictures are others'; give a folder outside the repository, or below runs"
        )


def truth_of(sample: Sample, class_names: tuple[str, ...]) -> Detections:
    """The labels of a picture, as detections of confidence 1."""
    width, height = sample.size
    return Detections(
        sample.boxes, np.ones(len(sample), np.float32), sample.class_id, class_names, (height, width)
    )


def fit(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture in the middle of a white cell."""
    scale = min(CELL[0] / image.shape[0], CELL[1] / image.shape[1])
    height, width = (max(round(side * scale), 1) for side in image.shape[:2])
    cell = np.full((*CELL, 3), 255, np.uint8)
    top, left = (CELL[0] - height) // 2, (CELL[1] - width) // 2
    cell[top : top + height, left : left + width] = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA
    )
    return cell


def make_page(detector: Detector, dataset: Dataset, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The pictures `numbers` of a data set in pairs, as one BGR picture."""
    pairs = []
    for number in numbers:
        sample = dataset.images[number]
        image = read_image(sample.path)
        sides = (truth_of(sample, dataset.class_names), detector(image))
        pairs.append(cv2.hconcat([fit(side.plot(image)) for side in sides]))
    blank = np.full_like(pairs[0], 255)
    pairs += [blank] * (-len(pairs) % COLUMNS)
    framed = [
        cv2.copyMakeBorder(pair, _GAP, _GAP, _GAP, _GAP, cv2.BORDER_CONSTANT, value=(90, 90, 90))
        for pair in pairs
    ]
    rows = [cv2.hconcat(framed[first : first + COLUMNS]) for first in range(0, len(framed), COLUMNS)]
    return np.asarray(cv2.vconcat(rows), np.uint8)


def write_page(detector: Detector, dataset: Dataset, folder: Path, *, pictures: int, seed: int) -> Path:
    """Write the page of random pictures; returns its path."""
    require_private(folder)
    count = min(pictures, len(dataset))
    numbers = np.random.default_rng(seed).choice(len(dataset), count, replace=False)
    with atomic_file(folder / "page.jpg") as draft:
        cv2.imwrite(str(draft), make_page(detector, dataset, numbers))
    return folder / "page.jpg"


def main() -> None:
    """Write the page from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="labelled pictures, as for `edgeyolo val`")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default=builtin.NAME)
    parser.add_argument("--split", default=TRAININGS["builtin"].judged)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dataset = load_dataset(options.data, options.split)
    with Detector(options.model) as detector:
        page = write_page(detector, dataset, options.output, pictures=options.pictures, seed=options.seed)
    note(f"written to {page}")


if __name__ == "__main__":
    main()
