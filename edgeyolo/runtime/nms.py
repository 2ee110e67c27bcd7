"""Greedy non-maximum suppression in numpy: the reference for every backend.

Walk the boxes from the highest score down; keep a box unless its IoU with a kept one of the same class is
above the threshold. Classes are compared directly. The usual trick, shifting each class by an offset, moves
boxes to coordinates where float32 resolves hundredths of a pixel only (80 classes x 4096), and with too small
an offset it suppresses across classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int64]
Float = TypeVar("Float", np.float32, np.float64)

# Candidates compared at once. All pairs of a block fit into a core's cache (256 kB); with 1024 they do not
# and the same work takes ten times as long. Blocks also let the walk stop once `max_det` boxes are kept.
_BLOCK = 256
# Where fewer than one pair in this many is of one class, those pairs are computed one by one.
_FEW = 10
_LATER = np.arange(_BLOCK)[:, None] < np.arange(_BLOCK)


def nms(
    xyxy: FloatArray,
    scores: FloatArray,
    class_id: IndexArray | None,
    iou: float,
    max_det: int | None = None,
    *,
    kept: tuple[FloatArray, IndexArray] | None = None,
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
        kept: corners and classes of boxes of higher scores that stayed before, to go on from.
    """
    order = np.argsort(-scores, kind="stable")
    threshold = _largest_float32_up_to(iou)
    boxes = _Group.of(xyxy[order], None if class_id is None else class_id[order])
    before = (
        boxes.take(slice(0)) if kept is None else _Group.of(kept[0], None if class_id is None else kept[1])
    )
    limit = len(order) if max_det is None else max_det
    found: list[IndexArray] = []
    if len(order) <= _BLOCK and not len(before):
        return order[_greedy(_conflicts(boxes, boxes, threshold))[:limit]]
    for start in range(0, len(order), _BLOCK):
        index = np.arange(start, min(start + _BLOCK, len(order)))
        block = boxes.take(slice(start, start + _BLOCK))
        if len(before):
            free = np.flatnonzero(~_conflicts(before, block, threshold).any(axis=0))
            index, block = index[free], block.take(free)
        stays = _greedy(_conflicts(block, block, threshold))
        found.append(index[stays])
        limit -= len(stays)
        if limit <= 0:
            break
        before = before.followed_by(block.take(stays))
    places = np.concatenate(found) if found else np.empty(0, np.int64)
    return order[places[: len(places) + min(limit, 0)]]


@dataclass(frozen=True, eq=False)
class _Group:
    """Boxes as they are compared.

    Attributes:
        columns: (4, n) x1, y1, x2, y2, each in one piece, which is what numpy is quick with.
        class_id: (n,), None where classes do not matter.
    """

    columns: FloatArray
    class_id: NDArray[np.int32] | None

    @classmethod
    def of(cls, xyxy: FloatArray, class_id: IndexArray | None) -> _Group:
        """Group of (n, 4) corners."""
        return cls(_columns(xyxy), None if class_id is None else class_id.astype(np.int32))

    def __len__(self) -> int:
        return len(self.columns[0])

    def take(self, index: IndexArray | slice) -> _Group:
        """Some of them."""
        return _Group(self.columns[:, index], None if self.class_id is None else self.class_id[index])

    def followed_by(self, other: _Group) -> _Group:
        """These boxes and then the others."""
        class_id = None
        if self.class_id is not None and other.class_id is not None:
            class_id = np.concatenate([self.class_id, other.class_id])
        return _Group(np.concatenate([self.columns, other.columns], axis=1), class_id)


def box_iou(first: NDArray[Float], second: NDArray[Float]) -> NDArray[Float]:
    """IoU of all pairs of (n, 4) and (m, 4) xyxy boxes.

    (n, m) of the boxes' own type, NaN if neither has area.
    """
    return _iou(_columns(first)[:, :, None], _columns(second)[:, None])


def _columns(boxes: NDArray[Float]) -> NDArray[Float]:
    """(4, n) of (n, 4), each coordinate in one piece."""
    return np.ascontiguousarray(boxes.T)


def _iou(first: NDArray[Float], second: NDArray[Float]) -> NDArray[Float]:
    """IoU of boxes (4, ...) with boxes (4, ...), broadcast."""
    left, top, right, bottom = first
    x1, y1, x2, y2 = second
    width = np.minimum(right, x2)
    width -= np.maximum(left, x1)
    height = np.minimum(bottom, y2)
    height -= np.maximum(top, y1)
    none = np.zeros(width.shape[-1:], width.dtype)  # as an array: of a number numpy takes the maximum slowly
    overlap: NDArray[Float] = np.maximum(width, none, out=width)
    overlap *= np.maximum(height, none, out=height)
    areas = (right - left) * (bottom - top) + (x2 - x1) * (y2 - y1)
    areas -= overlap
    with np.errstate(invalid="ignore"):
        overlap /= areas
    return overlap


def _largest_float32_up_to(value: float) -> np.float32:
    """The float32 equivalent of a float64 IoU threshold.

    It decides `iou > value` for a float32 IoU exactly as the float64 threshold would.
    """
    rounded = np.float32(value)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > value else rounded


def _conflicts(first: _Group, second: _Group, threshold: np.float32) -> NDArray[np.bool_]:
    """(n, m) bool: pairs of boxes that overlap too much to stay together.

    Of a group with itself, each box with those after it.
    """
    rows, columns = first.columns, second.columns
    over: NDArray[np.bool_]
    if first.class_id is None or second.class_id is None:
        over = _iou(rows[:, :, None], columns[:, None]) > threshold
        return over & _LATER[: len(first), : len(first)] if first is second else over
    over = first.class_id[:, None] == second.class_id
    if first is second:
        over &= _LATER[: len(first), : len(first)]
    pairs = over.ravel().nonzero()[0]
    if len(pairs) * _FEW > over.size:
        over &= _iou(rows[:, :, None], columns[:, None]) > threshold
        return over
    row, column = np.divmod(pairs, len(second))
    over.reshape(-1)[pairs] = _iou(rows.take(row, axis=1), columns.take(column, axis=1)) > threshold
    return over


def _greedy(conflicts: NDArray[np.bool_]) -> IndexArray:
    """Positions that stay, in order.

    `conflicts` is a square matrix, best box first: those that each box keeps from staying, all of them after it.
    """
    packed = np.packbits(conflicts, axis=1, bitorder="little")
    size, rows = packed.shape[1], packed.tobytes()
    alive = (1 << len(conflicts)) - 1  # a set of positions, as the bits of a number
    for position in np.flatnonzero(packed.any(axis=1)).tolist():
        if alive >> position & 1:
            alive &= ~int.from_bytes(rows[position * size : (position + 1) * size], "little")
    bits = np.frombuffer(alive.to_bytes(size, "little"), np.uint8)
    return np.flatnonzero(np.unpackbits(bits, bitorder="little"))
