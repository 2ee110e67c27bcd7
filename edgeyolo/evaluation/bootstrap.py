"""Confidence interval of the difference of two APs.

It comes from a paired bootstrap over the images both were measured on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeyolo.datasets import Dataset
from edgeyolo.errors import UsageError
from edgeyolo.evaluation.matching import match
from edgeyolo.evaluation.predictions import Predictions

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 100  # an image and class, as COCO counts

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """Difference of two APs as fractions of 1, with its confidence interval.

    `value` = first AP - second AP; the interval holds it with `confidence`.
    """

    value: float
    low: float
    high: float
    confidence: float
    resamples: int


def ap_difference(
    dataset: Dataset,
    first: Predictions,
    second: Predictions,
    *,
    resamples: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """AP of `first` minus AP of `second`, with a percentile interval.

    Both are on the same images.

    Images are drawn with replacement, the same ones for both sides, so that what makes an image hard cancels. Raises
    UsageError for a data set without images.
    """
    count = len(dataset.images)
    if not count:
        raise UsageError("no images to draw from")
    sides = [_Side.of(dataset, predictions) for predictions in (first, second)]
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
    found = np.array([sides[0].ap(draw) - sides[1].ap(draw) for draw in draws])
    found = found[np.isfinite(found)]  # a draw may show no object at all
    whole = np.ones(count)
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail]) if len(found) else (np.nan, np.nan)
    value = sides[0].ap(whole) - sides[1].ap(whole)
    return Difference(float(value), float(low), float(high), confidence, resamples)


@dataclass(frozen=True)
class _Class:
    """Detections of one class, best first.

    `image` (n,) index, `hit` and `wrong` (IoUs, n) 0 or 1; `objects` (images,) how many each image shows.
    """

    image: NDArray[np.int64]
    hit: Floats
    wrong: Floats
    objects: Floats

    def ap(self, weight: Floats) -> float:
        """AP over all IoUs where image i counts weight[i] times; NaN without objects."""
        total = float(self.objects @ weight)
        if not total:
            return float("nan")
        times = weight[self.image]
        hits = np.cumsum(self.hit * times, axis=1)
        misses = np.cumsum(self.wrong * times, axis=1)
        precision = hits / np.maximum(hits + misses, np.finfo(np.float64).eps)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        sums = 0.0
        for recall, best in zip(hits / total, precision, strict=True):
            at = np.searchsorted(recall, RECALLS, side="left")
            sums += best[at[at < len(best)]].sum()
        return sums / (len(IOUS) * len(RECALLS))


@dataclass(frozen=True)
class _Side:
    classes: tuple[_Class, ...]

    @classmethod
    def of(cls, dataset: Dataset, predictions: Predictions) -> _Side:
        """Match once; drawing images again changes only how often each counts."""
        found = [match(dataset, predictions, iou=float(iou)) for iou in IOUS]
        hit = np.stack([each.hit for each in found]).astype(np.float64)
        wrong = np.stack([~each.hit & ~each.ignored for each in found]).astype(np.float64)
        place = {sample.image_id: i for i, sample in enumerate(dataset.images)}
        image = np.array([place[i] for i in predictions.image_id.tolist()], dtype=np.int64)
        order = np.argsort(-predictions.score, kind="stable")
        order = order[_rank(image[order], predictions.class_id[order]) < MAX_DETECTIONS]
        classes = []
        for class_id in range(len(dataset.class_names)):
            rows = order[predictions.class_id[order] == class_id]
            objects = [((s.class_id == class_id) & ~s.crowd).sum() for s in dataset.images]
            classes.append(
                _Class(image[rows], hit[:, rows], wrong[:, rows], np.array(objects, dtype=np.float64))
            )
        return cls(tuple(classes))

    def ap(self, weight: Floats) -> float:
        """The mean over the classes that have objects."""
        values = np.array([each.ap(weight) for each in self.classes])
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else float("nan")


def _rank(image: NDArray[np.int64], class_id: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each row's place among the rows of its image and class, in the order given."""
    order = np.lexsort((class_id, image))  # stable: equal keys keep their order
    keys = np.stack([image[order], class_id[order]], axis=1)
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    starts = np.flatnonzero(new)
    sizes = np.diff(np.append(starts, len(order)))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    return rank
