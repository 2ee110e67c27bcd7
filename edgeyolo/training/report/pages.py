"""Pictures about a run: what the labels are like, and what the network is shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeyolo.datasets import Dataset
from edgeyolo.errors import ImageError, RuntimeMissingError
from edgeyolo.evaluation.drawn_names import drawable
from edgeyolo.runtime.drawing import class_color, draw_detections
from edgeyolo.runtime.images import read_image
from edgeyolo.runtime.pipeline import Pipeline
from edgeyolo.runtime.preprocess import letterbox
from edgeyolo.support.files import atomic_file
from edgeyolo.training.data.batches import Batch
from edgeyolo.training.loop.listener import Listener
from edgeyolo.training.loop.state import Position

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONG_SIDE = 1920


def draw_batch(path: Path, batch: Batch, class_names: Sequence[str], *, limit: int = 16) -> None:
    """The first pictures of a batch with their boxes, side by side, as an image file."""
    targets, pictures = batch.targets.numpy(), []
    for number in range(min(len(batch.images), limit)):
        image = np.ascontiguousarray(batch.images[number].numpy()[::-1].transpose(1, 2, 0))
        for _, label, x, y, w, h in targets[targets[:, 0] == number]:
            corners = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
            _draw_box(image, corners, class_names[int(label)], class_color(int(label)))
        pictures.append(image)
    _write_sheet(path, pictures)


def draw_found(path: Path, pipeline: Pipeline, dataset: Dataset, *, limit: int = 16) -> None:
    """Draw a network's detections in the first pictures of a data set.

    They are letterboxed side by side, as an image file.
    """
    pictures = []
    for sample in dataset.images[:limit]:
        try:
            image = read_image(sample.path)
        except ImageError:  # the validation before has named it
            continue
        drawn = draw_detections(image, pipeline([image])[0])
        pictures.append(letterbox(drawn, pipeline.input.size)[0])
    if pictures:
        _write_sheet(path, pictures)


def _write_sheet(path: Path, pictures: Sequence[NDArray[np.uint8]]) -> None:
    """Pictures of one size side by side."""
    columns = math.ceil(math.sqrt(len(pictures)))
    height, width = pictures[0].shape[:2]
    sheet = np.full((math.ceil(len(pictures) / columns) * height, columns * width, 3), 255, np.uint8)
    for number, image in enumerate(pictures):
        row, column = divmod(number, columns)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
    scale = min(_LONG_SIDE / max(sheet.shape[:2]), 1.0)
    small = cv2.resize(sheet, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    with atomic_file(path) as draft:
        cv2.imwrite(str(draft), small)


def _draw_box(
    image: NDArray[np.uint8], relative: NDArray[np.float64], name: str, colour: tuple[int, int, int]
) -> None:
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (int(value) for value in np.round(relative * [width, height, width, height]))
    cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), colour, 1)
    cv2.putText(image, name, (x1, max(y1 - 2, 8)), cv2.FONT_HERSHEY_SIMPLEX, 0.35, colour, 1, cv2.LINE_AA)


def draw_labels(path: Path, dataset: Dataset) -> None:
    """Objects by class, their sizes and their places, as an image file."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeMissingError("plots need matplotlib", hint='pip install "edgeyolo[train]"') from error
    with drawable(dataset.class_names) as names:
        _draw_labels(path, Figure(figsize=(14, 5), layout="constrained"), dataset, names)


def _draw_labels(path: Path, figure: Figure, dataset: Dataset, names: Sequence[str]) -> None:
    bars, sizes, places = figure.subplots(1, 3)
    classes = np.concatenate([sample.class_id for sample in dataset.images])
    counts = np.bincount(classes, minlength=len(dataset.class_names))
    bars.barh(range(len(names)), counts)
    bars.set_yticks(range(len(names)), names)
    bars.set(title=f"{len(classes)} objects in {len(dataset)} images", xlabel="objects")
    bars.invert_yaxis()
    relative = np.concatenate([sample.xywh / np.array(sample.size * 2) for sample in dataset.images])
    sizes.hist2d(relative[:, 2], relative[:, 3], bins=50, range=[[0, 1], [0, 1]], cmin=1)
    sizes.set(title="size", xlabel="width / image", ylabel="height / image")
    centres = relative[:, :2] + relative[:, 2:] / 2
    places.hist2d(centres[:, 0], centres[:, 1], bins=50, range=[[0, 1], [0, 1]], cmin=1)
    places.set(title="centre", xlabel="x / image", ylabel="y / image")
    places.invert_yaxis()
    with atomic_file(path) as draft:
        figure.savefig(draft, dpi=110)


class PageListener(Listener):
    """Writes train_batch0.jpg and on, the first batches that the network is shown."""

    def __init__(self, folder: Path, class_names: Sequence[str], *, batches: int = 3) -> None:
        self.folder, self.class_names, self.batches = folder, tuple(class_names), batches

    def batch(self, batch: Batch, position: Position) -> None:
        if position.iteration < self.batches:
            draw_batch(self.folder / f"train_batch{position.iteration}.jpg", batch, self.class_names)
