"""Default confidence of each class of the built-in model.

A wrong name is worse than none. Of few objects a class's own precision is mostly chance, so it is drawn towards that
of all classes together. How good a choice is, is measured on images that it was not made on: on either half by what
the other half chose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.evaluation.matching import match
from edgeyolo.evaluation.result import ValidationResult

LEAST_PRECISION = 0.7
FLOOR = 0.1  # confidence down to which detections are looked at
SPLITS = 10  # random halvings, whose results are averaged
_GRID = np.round(np.arange(FLOOR, 0.951, 0.01), 2)
_PRIOR = 20  # detections' worth of weight of all classes' precision
_STEP = 0.01

Numbers = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Found:
    """n detections as they are shown, and what there was to find.

    image (n,): index of the image. class_id (n,), score (n,). hit (n,) bool: right class, IoU 0.5, first of its object.
    objects (images, classes): number of objects.
    """

    image: Numbers
    class_id: Numbers
    score: Numbers
    hit: Numbers
    objects: Numbers

    def part(self, images: Numbers) -> Found:
        """The detections of some images, and what there was to find in them."""
        rows = np.isin(self.image, images)
        objects = np.zeros_like(self.objects)
        objects[images] = self.objects[images]
        return Found(self.image[rows], self.class_id[rows], self.score[rows], self.hit[rows], objects)


@dataclass(frozen=True, eq=False)
class Worth:
    """Counts (classes,) of detections, right ones, and objects.

    Detections above the default confidence. Fractions where they are means over several halvings.
    """

    detections: Numbers
    right: Numbers
    objects: Numbers

    @property
    def precision(self) -> float:
        """Share of the detections that are right; 1 where there are none."""
        return float(self.right.sum() / self.detections.sum()) if self.detections.sum() else 1.0

    @property
    def recall(self) -> float:
        """Share of the objects that are found."""
        return float(self.right.sum() / max(self.objects.sum(), 1))


@dataclass(frozen=True, eq=False)
class Choice:
    """Confidence of each class (classes,).

    held_out: its worth on images that it was not chosen on.
    """

    confidence: Numbers
    held_out: Worth


def read_found(result: ValidationResult) -> Found:
    """Detections of a validation by `conf` FLOOR and one class a box.

    A Detector shows them so.
    """
    matches = match(result.data, result.predictions)
    kept = ~matches.ignored
    numbers = {sample.image_id: index for index, sample in enumerate(result.data.images)}
    image = np.array([numbers[each] for each in result.predictions.image_id.tolist()], np.int64)
    classes = len(result.data.class_names)
    objects = [np.bincount(each.class_id[~each.crowd], minlength=classes) for each in result.data.images]
    predictions = result.predictions
    return Found(
        image[kept], predictions.class_id[kept], predictions.score[kept], matches.hit[kept], np.stack(objects)
    )


def measure(found: Found, confidence: Numbers) -> Worth:
    """Worth of confidences (classes,) on the images of `found`."""
    classes, shown = found.objects.shape[1], found.score > confidence[found.class_id]
    return Worth(
        np.bincount(found.class_id[shown], minlength=classes),
        np.bincount(found.class_id[shown & found.hit], minlength=classes),
        found.objects.sum(axis=0),
    )


def choose(found: Found, target: float) -> Numbers:
    """The least confidence of each class (classes,) that is precise enough.

    Its precision is estimated at `target` or more. The highest of the grid where none is.
    """
    shown, right = _above(found.score, found.hit)
    every = np.maximum.accumulate(right / np.maximum(shown, 1))
    chosen = []
    for class_id in range(found.objects.shape[1]):
        mine = found.class_id == class_id
        shown, right = _above(found.score[mine], found.hit[mine])
        enough = np.flatnonzero((right + _PRIOR * every) / (shown + _PRIOR) >= target)
        chosen.append(_GRID[enough[0]] if len(enough) else _GRID[-1])
    return np.array(chosen)


def cross(found: Found, target: float) -> Worth:
    """Worth on either half of the images of what the other half chooses.

    Mean over `SPLITS` halvings.
    """
    images = np.arange(len(found.objects))
    worths = []
    for seed in range(SPLITS):
        halves = np.array_split(np.random.default_rng(seed).permutation(images), 2)
        parts = [found.part(half) for half in halves]
        worths += [
            measure(there, choose(here, target))
            for here, there in ((parts[0], parts[1]), (parts[1], parts[0]))
        ]
    return Worth(
        *(np.sum([getattr(each, name) for each in worths], axis=0) / SPLITS for name in Worth.__annotations__)
    )


def settle_confidence(found: Found, least: float = LEAST_PRECISION) -> Choice:
    """Confidences that are precise enough on images that did not choose them.

    The precision is `least` or more. A choice looks better on its own images than on others, so the target is raised
    until it holds on others. The confidences are then chosen on all images. SystemExit where no target is enough.
    """
    for target in np.arange(least, 1.0, _STEP):
        held_out = cross(found, float(target))
        if held_out.precision >= least and held_out.detections.sum():
            return Choice(choose(found, float(target)), held_out)
    raise SystemExit(f"no confidence gives a precision of {least:g} on images that it was not chosen on")


def by_name(choice: Choice, names: tuple[str, ...]) -> Mapping[str, float]:
    """Class name to confidence, as a provenance has them."""
    return {name: float(value) for name, value in zip(names, choice.confidence, strict=True)}


def _above(score: Numbers, hit: Numbers) -> tuple[Numbers, Numbers]:
    """Detections above each confidence of the grid, and how many of them are right."""
    order = np.argsort(score)
    right = np.concatenate([[0], np.cumsum(hit[order][::-1])])
    shown = len(score) - np.searchsorted(score[order], _GRID, side="right")
    return shown, right[shown]
