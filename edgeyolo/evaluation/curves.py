"""Precision, recall, F1 and confusion matrix in numpy.

The first three are curves against confidence; precision is also drawn against recall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeyolo.datasets import Dataset
from edgeyolo.evaluation.matching import by_image, match, overlaps
from edgeyolo.evaluation.predictions import Predictions

Floats = NDArray[np.float64]
POINTS = 1001  # confidence and recall 0, 0.001 ... 1


@dataclass(frozen=True, eq=False)
class Curves:
    """The k classes that have objects, at one IoU (0.5 unless told otherwise).

    `confidence` (1001,) from 0 to 1; `precision`, `recall` and `f1` (k, 1001) of the detections at that
    confidence or above (precision is 1 where there are none). `precision_at_recall` (k, 1001) over recall 0
    to 1 is the precision-recall curve, made monotonic, 0 beyond the highest recall reached. `area` (k,) is
    its mean: the AP at this IoU, to within COCO's coarser 101 points. The best confidence has the highest
    mean F1.
    """

    class_names: tuple[str, ...]
    iou: float
    confidence: Floats
    precision: Floats
    recall: Floats
    f1: Floats
    precision_at_recall: Floats
    area: Floats
    best_confidence: float
    best_f1: float


@dataclass(frozen=True, eq=False)
class Confusion:
    """Confusion matrix.

    `counts` int64 (k + 1, k + 1): row = true class, column = detected class. The last of each is background.

    The last column counts missed objects, the last row detections where nothing is.
    """

    class_names: tuple[str, ...]
    counts: NDArray[np.int64]
    confidence: float
    iou: float


def measure_curves(dataset: Dataset, predictions: Predictions, *, iou: float = 0.5) -> Curves:
    """Precision and recall of each class as the confidence threshold moves."""
    matches = match(dataset, predictions, iou=iou)
    present = np.flatnonzero(matches.objects)
    grid = np.linspace(0, 1, POINTS)
    precision, recall, at_recall = (np.zeros((len(present), POINTS)) for _ in range(3))
    for row, k in enumerate(present):
        mine = np.flatnonzero((predictions.class_id == k) & ~matches.ignored)
        mine = mine[np.argsort(-predictions.score[mine], kind="stable")]
        found = np.concatenate([[0], np.cumsum(matches.hit[mine])])
        # How many detections stay at each threshold; entry i of the running values belongs to the best i.
        kept = np.searchsorted(-predictions.score[mine], -grid, side="right")
        running_precision = found / np.maximum(np.arange(len(mine) + 1), 1)
        running_precision[0] = 1
        running_recall = found / matches.objects[k]
        precision[row], recall[row] = running_precision[kept], running_recall[kept]
        at_recall[row] = _precision_at(grid, running_recall[1:], running_precision[1:])
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    mean_f1 = f1.mean(axis=0) if len(present) else np.zeros(POINTS)
    best = int(np.argmax(mean_f1))
    names = tuple(dataset.class_names[k] for k in present)
    area = at_recall.mean(axis=1)
    return Curves(
        names, iou, grid, precision, recall, f1, at_recall, area, float(grid[best]), float(mean_f1[best])
    )


def _precision_at(grid: Floats, recall: Floats, precision: Floats) -> Floats:
    """The best precision at each recall or beyond it."""
    if not len(recall):
        return np.zeros_like(grid)
    best_beyond = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(recall, grid, side="left")
    return np.where(first < len(recall), best_beyond[np.minimum(first, len(recall) - 1)], 0.0)


def count_confusion(
    dataset: Dataset, predictions: Predictions, *, confidence: float = 0.25, iou: float = 0.5
) -> Confusion:
    """Confusion matrix of detections paired with objects of any class.

    Pairs are taken by highest IoU first, each detection and object once.

    Crowds are not counted, nor detections that lie on one.
    """
    k = len(dataset.class_names)
    counts = np.zeros((k + 1, k + 1), dtype=np.int64)
    boxes = predictions.boxes
    for sample, rows in by_image(dataset, predictions):
        confident = rows[predictions.score[rows] >= confidence]
        overlap = overlaps(boxes[confident], sample)
        detected = predictions.class_id[confident]
        pairs = _pairs(np.where(sample.crowd, 0, overlap), iou)
        for i, j in pairs:
            counts[sample.class_id[j], detected[i]] += 1
        missed = ~sample.crowd
        missed[[j for _, j in pairs]] = False
        counts[:, k] += np.bincount(sample.class_id[missed], minlength=k + 1)
        wrong = np.all(overlap[:, sample.crowd] < iou, axis=1)
        wrong[[i for i, _ in pairs]] = False
        counts[k] += np.bincount(detected[wrong], minlength=k + 1)
    return Confusion(dataset.class_names, counts, confidence, iou)


def _pairs(overlap: NDArray[np.float32], iou: float) -> list[tuple[int, int]]:
    """One-to-one pairs (row, column) of at least `iou`, the highest first.

    Equal ones in order of score.
    """
    rows, columns = np.nonzero(overlap >= iou)
    pairs: list[tuple[int, int]] = []
    used_rows: set[int] = set()
    used_columns: set[int] = set()
    for n in np.argsort(-overlap[rows, columns], kind="stable"):
        i, j = int(rows[n]), int(columns[n])
        if i not in used_rows and j not in used_columns:
            pairs.append((i, j))
            used_rows.add(i)
            used_columns.add(j)
    return pairs
