"""Fit of a network's anchors to a data set, and better anchors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeyolo.datasets import Dataset

Sides = NDArray[np.float64]
ENOUGH = 0.98  # best possible recall below which new anchors are worth it
_LEAST = 2.0  # pixels: smaller objects are not learned


@dataclass(frozen=True)
class AnchorFit:
    """Fit of anchors to objects.

    recall: share of objects within the ratio of some anchor (best possible recall). per_object: anchors that
    fit an object, on average.
    """

    recall: float
    per_object: float


def object_sides(dataset: Dataset, size: int) -> Sides:
    """Widths and heights (n, 2) in pixels of all objects.

    Their images are scaled to a long side of `size`.
    """
    parts = [sample.xywh[:, 2:] * (size / max(sample.size)) for sample in dataset.images if len(sample)]
    sides = np.concatenate([np.zeros((0, 2)), *parts])
    return sides[(sides >= _LEAST).all(1)]


def measure_fit(anchors: Sides, sides: Sides, ratio: float = 4.0) -> AnchorFit:
    """Fit of anchors (k, 2) to objects (n, 2), both in pixels."""
    closeness = _closeness(anchors, sides)
    fits = closeness > 1 / ratio
    return AnchorFit(float(fits.any(1).mean()), float(fits.sum(1).mean()))


def find_anchors(
    sides: Sides,
    levels: int,
    per_level: int = 3,
    *,
    ratio: float = 4.0,
    generations: int = 1000,
    seed: int = 0,
) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Anchors (levels, per_level, 2) in pixels for objects (n, 2).

    K-means, then evolution; small ones first.
    """
    rng = np.random.default_rng(seed)
    count = levels * per_level
    anchors = _k_means(sides, count, rng)
    best = _fitness(anchors, sides, ratio)
    for _ in range(generations):
        changed = rng.random(anchors.shape) < 0.9
        factors = np.where(changed, 1 + rng.normal(0, 0.1, anchors.shape) * rng.random(), 1).clip(0.3, 3)
        child = np.maximum(anchors * factors, _LEAST)
        fitness = _fitness(child, sides, ratio)
        if fitness > best:
            anchors, best = child, fitness
    ordered = anchors[np.argsort(anchors.prod(1))].round(1).reshape(levels, per_level, 2)
    return tuple(tuple((float(w), float(h)) for w, h in level) for level in ordered)


def flat(anchors: Sequence[Sequence[Sequence[float]]]) -> Sides:
    """A network's anchors as (k, 2)."""
    return np.array(anchors, dtype=np.float64).reshape(-1, 2)


def _closeness(anchors: Sides, sides: Sides) -> NDArray[np.float64]:
    """1 / the larger ratio of sides of every object (n) and anchor (k).

    (n, k) in 0..1.
    """
    quotient = sides[:, None] / anchors
    return np.asarray(np.minimum(quotient, 1 / quotient).min(2))


def _fitness(anchors: Sides, sides: Sides, ratio: float) -> float:
    closest = _closeness(anchors, sides).max(1)
    return float(np.where(closest > 1 / ratio, closest, 0).mean())


def _k_means(sides: Sides, count: int, rng: np.random.Generator, rounds: int = 30) -> Sides:
    """Lloyd's algorithm on whitened sides, from k-means++ seeds."""
    spread = np.maximum(sides.std(0), 1e-6)
    points = sides / spread
    centres = points[rng.integers(len(points))][None]
    while len(centres) < count:
        distance = ((points[:, None] - centres) ** 2).sum(2).min(1) + 1e-12
        centres = np.concatenate(
            [centres, points[rng.choice(len(points), p=distance / distance.sum())][None]]
        )
    for _ in range(rounds):
        nearest = ((points[:, None] - centres) ** 2).sum(2).argmin(1)
        for k in range(count):
            if (nearest == k).any():
                centres[k] = points[nearest == k].mean(0)
    return np.asarray(np.maximum(centres * spread, _LEAST))
