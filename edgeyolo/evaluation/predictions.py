"""The detections of a whole data set in one table, and COCO's json of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.datasets import Dataset
from edgeyolo.datasets.coco import read_json
from edgeyolo.datasets.parse import identifier, parse_number
from edgeyolo.errors import DatasetError
from edgeyolo.support.files import atomic_file


@dataclass(frozen=True, eq=False)
class Predictions:
    """n detections on the images of one data set.

    `image_id` int64 (n,) as in `Sample.image_id`; `class_id` int64 (n,) index `Dataset.class_names`; `xywh`
    float64 (n, 4) are `x, y, width, height` in pixels of the original image; `score` float64 (n,) in 0..1.
    """

    image_id: NDArray[np.int64]
    class_id: NDArray[np.int64]
    xywh: NDArray[np.float64]
    score: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = len(self.score)
        shapes = (self.image_id.shape, self.class_id.shape, self.xywh.shape, self.score.shape)
        if shapes != ((n,), (n,), (n, 4), (n,)):
            raise ValueError(f"expected image_id (n,), class_id (n,), xywh (n, 4), score (n,); got {shapes}")

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def from_images(
        cls, image_ids: Sequence[int], per_image: Sequence[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]
    ) -> Predictions:
        """Join one `(boxes (k, 4) xyxy in pixels, scores (k,), class ids (k,))` per image."""
        corners = [np.asarray(boxes, dtype=np.float64).reshape(-1, 4) for boxes, _, _ in per_image]
        boxes = np.concatenate([np.zeros((0, 4)), *corners])
        scores = [np.asarray(scores, dtype=np.float64) for _, scores, _ in per_image]
        classes = [np.asarray(classes, dtype=np.int64) for _, _, classes in per_image]
        return cls(
            np.repeat(np.asarray(image_ids, dtype=np.int64), [len(part) for part in scores]),
            np.concatenate([np.zeros(0, np.int64), *classes]),
            np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1),
            np.concatenate([np.zeros(0), *scores]),
        )

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(n, 4) float32 `x1, y1, x2, y2` in pixels."""
        return np.concatenate([self.xywh[:, :2], self.xywh[:, :2] + self.xywh[:, 2:]], axis=1).astype(
            np.float32
        )


def read_predictions(file: str | Path, dataset: Dataset) -> Predictions:
    """Read detections in COCO's result form.

    A list of `{image_id, category_id, bbox: [x, y, w, h], score}`.

    Ids are those of the annotation file; any that it does not have are a DatasetError that names them.
    """
    file = Path(file)
    entries = read_json(file)
    if not isinstance(entries, list):
        raise DatasetError(f"{file}: COCO detections are a list of objects; this is {type(entries).__name__}")
    images = {identifier(sample.file_id): sample.image_id for sample in dataset.images}
    classes = {identifier(category): i for i, category in enumerate(dataset.category_ids)}
    image_ids: list[str] = []
    category_ids: list[str] = []
    numbers: list[list[float]] = []
    for i, entry in enumerate(entries):
        try:
            numbers.append([*_box(entry["bbox"]), parse_number(entry["score"])])
            image_ids.append(identifier(entry["image_id"]))
            category_ids.append(identifier(entry["category_id"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{file}: entry {i} is no detection: {type(error).__name__} {error}",
                hint='Expected {"image_id": 1, "category_id": 1, "bbox": [x, y, width, height], "score": 1}.',
            ) from error
    table = np.array(numbers, dtype=np.float64).reshape(-1, 5)
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise DatasetError(
            f"{file}: entry {bad[0]} has a number that is not finite: {table[bad[0]].tolist()}"
        )
    _require_known(image_ids, images, "image_id", file, dataset)
    _require_known(category_ids, classes, "category_id", file, dataset)
    return Predictions(
        np.array([images[each] for each in image_ids], dtype=np.int64),
        np.array([classes[each] for each in category_ids], dtype=np.int64),
        table[:, :4],
        table[:, 4],
    )


def _box(values: Any) -> tuple[float, float, float, float]:
    x, y, w, h = map(parse_number, values)
    return x, y, w, h


def _require_known(ids: Sequence[str], known: Iterable[str], what: str, file: Path, dataset: Dataset) -> None:
    known = list(known)
    strangers = sorted(set(ids) - set(known))
    if strangers:
        raise DatasetError(
            f"{file}: {what} {_some(strangers)}: not in {dataset.source}, which has {_some(known)}",
            hint="Detections carry the ids of the annotation file, not class or image indices.",
        )


def _some(ids: Sequence[str], limit: int = 10) -> str:
    more = f" and {len(ids) - limit} more" if len(ids) > limit else ""
    return ", ".join(ids[:limit]) + more


def write_predictions(file: str | Path, predictions: Predictions, dataset: Dataset) -> None:
    """Write COCO's result form, with the ids of the annotation file."""
    images = {sample.image_id: sample.file_id for sample in dataset.images}
    columns = zip(
        predictions.image_id.tolist(),
        predictions.class_id.tolist(),
        predictions.xywh.round(3).tolist(),
        predictions.score.round(6).tolist(),
        strict=True,
    )
    entries = [
        {"image_id": images[image], "category_id": dataset.category_ids[k], "bbox": bbox, "score": score}
        for image, k, bbox, score in columns
    ]
    with atomic_file(Path(file)) as draft:
        draft.write_text(json.dumps(entries), encoding="utf-8")
