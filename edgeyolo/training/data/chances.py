"""Chances of pictures to be drawn, where an epoch is not each of them once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeyolo.datasets import Dataset

Chances = NDArray[np.float64]


def class_counts(dataset: Dataset) -> NDArray[np.int64]:
    """Objects of every class in every picture, int64 (pictures, classes).

    Crowds are left out, as in training.
    """
    classes = len(dataset.class_names)
    rows = [
        np.bincount(sample.class_id[~sample.crowd], minlength=classes).astype(np.int64)
        for sample in dataset.images
    ]
    return np.stack(rows)


def prefer_weak(counts: NDArray[np.int64], ap: Sequence[float]) -> Chances:
    """Larger chances for pictures with classes of low AP (0..1 each), by objects."""
    need = (1 - np.array(ap)) ** 2 + 1e-3
    return np.asarray(counts @ (need / np.maximum(counts.sum(0), 1)) + 1e-9)


def class_aware(counts: NDArray[np.int64]) -> Chances:
    """Chances by class: a class first, all alike, then one of its pictures.

    Class-aware sampling (Shen, Lin and Huang, Relay Backpropagation, 2016, section 4.2). A picture without objects has
    none; where no picture has objects all are alike.
    """
    shows = counts > 0
    chances = shows @ (1 / np.maximum(shows.sum(0), 1))
    return np.asarray(chances if chances.any() else np.ones(len(counts)), np.float64)
