"""Chances of pictures: classes alike, and more of the weak ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeyolo.datasets import Dataset, Sample
from edgeyolo.training.data.chances import class_aware, class_counts, prefer_weak

COUNTS = np.array([[3, 0], [1, 0], [2, 1], [0, 0], [5, 0]])


def test_every_class_is_drawn_alike() -> None:
    """One picture in two is for the second class, which one picture shows."""
    chances = class_aware(COUNTS)
    np.testing.assert_allclose(chances / chances.sum(), [1 / 8, 1 / 8, 1 / 8 + 1 / 2, 0, 1 / 8])
    assert (class_aware(np.zeros((3, 2), np.int64)) == 1).all()


def test_weak_classes_are_preferred() -> None:
    chances = prefer_weak(COUNTS, [1.0, 0.0])
    assert chances.argmax() == 2
    assert (chances > 0).all()


@pytest.mark.parametrize("crowd", [False, True])
def test_counts(crowd: bool) -> None:
    rows, no = np.ones((2, 4)), np.zeros(2, bool)
    sample = Sample(Path("a"), 0, np.array([1, 1]), rows, np.array([crowd, False]), no, declared_size=(9, 9))
    data = Dataset("one", "coco", Path("a.json"), ("a", "b", "c"), (1, 2, 3), (sample,))
    assert class_counts(data).tolist() == [[0, 1 if crowd else 2, 0]]
