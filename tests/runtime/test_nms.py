"""Suppression against a loop that anyone can check."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeyolo.runtime.nms import box_iou, nms


def by_hand(
    xyxy: NDArray[np.float32], scores: NDArray[np.float32], classes: NDArray[np.int64] | None, iou: float
) -> list[int]:
    """torchvision's definition: float32 IoU, compared with the float64 threshold, ties in input order."""
    left = sorted(range(len(scores)), key=lambda index: -scores[index])  # stable
    kept: list[int] = []
    for index in left:
        for other in kept:
            if classes is not None and classes[index] != classes[other]:
                continue
            a, b = xyxy[other], xyxy[index]
            width = np.maximum(np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]), np.float32(0))
            height = np.maximum(np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]), np.float32(0))
            overlap = width * height
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
            if union > 0 and float(overlap / union) > iou:
                break
        else:
            kept.append(index)
    return kept


@st.composite
def scenes(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Boxes on a coarse grid with few scores: equal scores, equal boxes, exact IoUs and empty boxes all happen."""
    n = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    corner = rng.integers(0, 6, (n, 2))
    size = rng.integers(0, 5, (n, 2))
    xyxy = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    return xyxy, rng.integers(1, 6, n).astype(np.float32) / 8, rng.integers(0, 3, n)


@settings(max_examples=200)
@given(scenes(), st.sampled_from([0.0, 0.25, 1 / 3, 0.3, 0.45, 0.5, 0.65, 0.7, 1.0]), st.booleans())
def test_equal_to_the_loop(
    scene: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]], iou: float, agnostic: bool
) -> None:
    xyxy, scores, classes = scene
    group = None if agnostic else classes
    assert nms(xyxy, scores, group, iou).tolist() == by_hand(xyxy, scores, group, iou)


@given(scenes(), st.integers(1, 10))
def test_max_det_takes_the_first(
    scene: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]], count: int
) -> None:
    assert nms(*scene, 0.45, count).tolist() == nms(*scene, 0.45).tolist()[:count]


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_the_loop_over_several_blocks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 200, (700, 2))
    xyxy = np.concatenate([corner, corner + rng.uniform(5, 60, (700, 2))], axis=1).astype(np.float32)
    scores = rng.integers(0, 50, 700).astype(np.float32) / 50
    classes = rng.integers(0, 4, 700)
    expected = by_hand(xyxy, scores, classes, 0.45)
    assert len(expected) > 256
    assert nms(xyxy, scores, classes, 0.45).tolist() == expected
    assert nms(xyxy, scores, classes, 0.45, 300).tolist() == expected[:300]


def test_classes_do_not_suppress_each_other_wherever_they_are() -> None:
    """With an offset of the input's size, class 1 at x = 0 would meet class 0 at x = 640."""
    xyxy = np.array([[640, 640, 1240, 1240], [0, 0, 600, 600], [640, 640, 1240, 1240]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    assert nms(xyxy, scores, np.array([0, 1, 79]), 0.45).tolist() == [0, 1, 2]
    assert nms(xyxy, scores, None, 0.45).tolist() == [0, 1]


def test_large_coordinates_lose_no_precision_to_an_offset() -> None:
    """IoU 0.4545 and 0.4386 around a threshold of 0.45, in class 79 at the far end of a 4k image."""
    base = np.array([3800.0, 2100.0, 3800.5, 2100.5], np.float32)
    near = base + np.array([0.1875, 0, 0.1875, 0], np.float32)
    far = base + np.array([0.195, 0, 0.195, 0], np.float32)
    classes, scores = np.array([79, 79]), np.array([0.9, 0.8], np.float32)
    assert nms(np.stack([base, near]), scores, classes, 0.45).tolist() == [0]
    assert nms(np.stack([base, far]), scores, classes, 0.45).tolist() == [0, 1]


def test_iou_on_the_threshold_stays() -> None:
    xyxy = np.array([[0, 0, 2, 1], [1, 0, 2, 1]], np.float32)  # IoU one half
    scores = np.array([0.9, 0.8], np.float32)
    assert nms(xyxy, scores, None, 0.5).tolist() == [0, 1]
    assert nms(xyxy, scores, None, 0.4999).tolist() == [0]


def test_iou_of_pairs() -> None:
    first = np.array([[0, 0, 2, 2], [1, 1, 1, 1]], np.float32)
    second = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6], [1, 1, 1, 1]], np.float32)
    found = box_iou(first, second)
    assert found.dtype == np.float32
    assert found[0].tolist() == pytest.approx([1, 1 / 7, 0, 0])
    assert np.isnan(found[1, 3])


def test_nothing() -> None:
    none = np.empty(0, np.float32)
    assert nms(none.reshape(0, 4), none, np.empty(0, np.int64), 0.45, 300).shape == (0,)
