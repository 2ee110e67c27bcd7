"""COCO's greedy matching of detections and objects at one IoU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeyolo.datasets import Dataset, Sample
from edgeyolo.evaluation.predictions import Predictions
from edgeyolo.runtime.nms import box_iou


@dataclass(frozen=True, eq=False)
class Matches:
    """Matches of n detections with the objects of each class.

    `hit` bool (n,): it found an object that no better-scored detection had found. `ignored` bool (n,): it
    lies on a crowd, and is neither right nor wrong. `objects` int64 (classes,): how many there were to find,
    crowds excluded.
    """

    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.int64]


def match(dataset: Dataset, predictions: Predictions, *, iou: float = 0.5) -> Matches:
    """Match detections to objects of their own class.

    The best score comes first; each object is matched once.
    """
    hit = np.zeros(len(predictions), dtype=np.bool_)
    ignored = np.zeros(len(predictions), dtype=np.bool_)
    objects = np.zeros(len(dataset.class_names), dtype=np.int64)
    boxes = predictions.boxes
    for sample, rows in by_image(dataset, predictions):
        objects += np.bincount(sample.class_id[~sample.crowd], minlength=len(objects))
        overlap = overlaps(boxes[rows], sample)
        overlap[predictions.class_id[rows][:, None] != sample.class_id] = 0
        hit[rows], ignored[rows] = _greedy(overlap, sample.crowd, iou)
    return Matches(hit, ignored, objects)


def by_image(dataset: Dataset, predictions: Predictions) -> Iterator[tuple[Sample, NDArray[np.int64]]]:
    """Every image with the indices of its predictions, best score first."""
    order = np.lexsort((-predictions.score, predictions.image_id))
    ids = predictions.image_id[order]
    for sample in dataset.images:
        first, last = np.searchsorted(ids, [sample.image_id, sample.image_id + 1])
        yield sample, order[first:last]


def overlaps(boxes: NDArray[np.float32], sample: Sample) -> NDArray[np.float32]:
    """(n, objects) IoU.

    With a crowd, the part of the detection that lies on it, as COCO counts.
    """
    truth = sample.boxes
    result = np.nan_to_num(box_iou(boxes, truth), nan=0.0)
    if sample.crowd.any():
        ours, theirs = _areas(boxes)[:, None], _areas(truth)
        shared = result * (ours + theirs) / (1 + result)
        on_crowd = np.divide(shared, ours, out=np.zeros_like(shared), where=ours > 0)
        result[:, sample.crowd] = on_crowd[:, sample.crowd]
    return result


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    areas: NDArray[np.float32] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def _greedy(
    overlap: NDArray[np.float32], crowd: NDArray[np.bool_], iou: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Greedy matching of rows that come best score first.

    Each takes the best object still free, or lies on a crowd, or is wrong.
    """
    hit = np.zeros(len(overlap), dtype=np.bool_)
    ignored = np.zeros(len(overlap), dtype=np.bool_)
    enough = overlap >= iou
    free = ~crowd
    for i in np.flatnonzero(enough.any(axis=1)):
        candidates = np.flatnonzero(enough[i] & free)
        if len(candidates):
            free[candidates[np.argmax(overlap[i, candidates])]] = False
            hit[i] = True
        else:
            ignored[i] = bool((enough[i] & crowd).any())
    return hit, ignored
