"""Greedy non-maximum suppression in numpy: the reference for every backend.

Walk the boxes from the highest score down; keep a box unless its IoU with a kept one of the same class is
above the threshold. Classes are compared directly. The usual trick, shifting each class by an offset, moves
boxes to coordinates where float32 resolves hundredths of a pixel only (80 classes x 4096), and with too small
an offset it suppresses across classes.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int64]
Float = TypeVar("Float", np.float32, np.float64)

# Candidates compared at once. All pairs of a block fit into a core's cache (256 kB); with 1024 they do not
# and the same work takes ten times as long. Blocks also let the walk stop once `max_det` boxes are kept.
_BLOCK = 256


def nms(
    xyxy: FloatArray, scores: FloatArray, class_id: IndexArray | None, iou: float, max_det: int | None = None
) -> IndexArray:
    """Indices of the boxes that stay, highest score first.

    The result is that of torchvision's `nms` within each class: a box goes when its float32 IoU with a kept
    box is above `iou`, equal scores are taken in input order, and a pair without area has no IoU and never
    goes.

    Args:
        xyxy: (n, 4) float32 corners, any unit.
        scores: (n,) float32.
        class_id: (n,) int64, or None to let every box suppress every other (class-agnostic).
        iou: threshold in 0..1.
        max_det: stop after this many boxes; None keeps all.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = xyxy[order]
    classes = None if class_id is None else class_id[order]
    threshold = _largest_float32_up_to(iou)
    limit = len(order) if max_det is None else max_det
    kept = np.empty(0, np.int64)
    for start in range(0, len(order), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(order)))
        if len(kept):
            block = block[~_conflicts(boxes, classes, kept, block, threshold).any(axis=0)]
        kept = np.concatenate([kept, block[_greedy(_conflicts(boxes, classes, block, block, threshold))]])
        if len(kept) >= limit:
            break
    return order[kept[:limit]]


def box_iou(first: NDArray[Float], second: NDArray[Float]) -> NDArray[Float]:
    """IoU of all pairs of (n, 4) and (m, 4) xyxy boxes.

    (n, m) of the boxes' own type, NaN if neither has area.
    """
    left, top, right, bottom = first.T[:, :, None]
    x1, y1, x2, y2 = second.T[:, None, :]
    width = np.minimum(right, x2) - np.maximum(left, x1)
    height = np.minimum(bottom, y2) - np.maximum(top, y1)
    overlap = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (right - left) * (bottom - top) + (x2 - x1) * (y2 - y1)
    with np.errstate(invalid="ignore"):
        result: NDArray[Float] = overlap / (areas - overlap)
    return result


def _largest_float32_up_to(value: float) -> np.float32:
    """The float32 equivalent of a float64 IoU threshold.

    It decides `iou > value` for a float32 IoU exactly as the float64 threshold would.
    """
    rounded = np.float32(value)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > value else rounded


def _conflicts(
    boxes: FloatArray,
    classes: IndexArray | None,
    rows: IndexArray,
    columns: IndexArray,
    threshold: np.float32,
) -> NDArray[np.bool_]:
    """(rows, columns) bool: whether the two boxes overlap too much to stay together."""
    over: NDArray[np.bool_] = box_iou(boxes[rows], boxes[columns]) > threshold
    if classes is not None:
        over &= classes[rows][:, None] == classes[columns]
    return over


def _greedy(conflicts: NDArray[np.bool_]) -> list[int]:
    """Positions that stay, in order; a square matrix of conflicts, best box first."""
    allowed = ~conflicts
    alive = np.ones(len(conflicts), np.bool_)
    kept = []
    for position in range(len(conflicts)):
        if alive[position]:
            kept.append(position)
            alive &= allowed[position]
    return kept
