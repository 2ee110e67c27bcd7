"""Anchors: how well they fit, and finding better ones."""

from __future__ import annotations

import numpy as np
import pytest

from edgeyolo.training.data.anchors import find_anchors, flat, measure_fit


def test_fit() -> None:
    anchors = np.array([[10.0, 10.0], [100.0, 100.0]])
    sides = np.array([[10.0, 10.0], [39.0, 39.0], [41.0, 41.0], [200.0, 20.0], [3.0, 3.0]])
    fit = measure_fit(anchors, sides)
    assert fit.recall == pytest.approx(4 / 5)  # 200 x 20 is more than four times as flat as either
    assert fit.per_object == pytest.approx((1 + 2 + 1 + 0 + 1) / 5)


def test_finds_the_clusters() -> None:
    rng = np.random.default_rng(0)
    true = np.array([[12, 10], [20, 40], [60, 30], [90, 90], [150, 80], [250, 300]], float)
    sides = np.concatenate([size * rng.normal(1, 0.05, (50, 2)) for size in true])
    found = find_anchors(sides, levels=3, per_level=2, generations=300)
    assert len(found) == 3 and all(len(level) == 2 for level in found)
    areas = flat(found).prod(1)
    assert (np.diff(areas) > 0).all()
    assert measure_fit(flat(found), sides).recall == 1
    for size in true:
        assert np.abs(flat(found) / size - 1).max(1).min() < 0.2
    assert found == find_anchors(sides, levels=3, per_level=2, generations=300)


def test_more_anchors_than_objects() -> None:
    found = find_anchors(np.array([[30.0, 40.0]]), levels=3, generations=5)
    assert flat(found).shape == (9, 2)
    assert np.isfinite(flat(found)).all()
