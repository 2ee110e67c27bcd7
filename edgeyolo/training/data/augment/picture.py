"""Picture: pixels with their objects, before and after augmentation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Boxes = NDArray[np.float32]
Outline = tuple[NDArray[np.float32], ...]

PAD_VALUE = 114
MIN_SIDE = 2.0  # pixels; below that an object teaches nothing
MIN_PART = 0.1  # of an object's box that a cut must leave


@dataclass(frozen=True, eq=False)
class Picture:
    """An image with n objects.

    image: uint8 (h, w, 3), BGR. boxes: float32 (n, 4) x1, y1, x2, y2 in pixels, where pixel i covers i to i
    + 1. class_id: int64 (n,). outlines: for each object the polygons (k, 2) of its outline in the same
    coordinates, none where it is not known; their bounds are the box.
    """

    image: Pixels
    boxes: Boxes
    class_id: NDArray[np.int64]
    outlines: tuple[Outline, ...] = ()

    def __post_init__(self) -> None:
        if not self.outlines:
            object.__setattr__(self, "outlines", ((),) * len(self.boxes))

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def choose(self, index: NDArray[np.int64]) -> Picture:
        """The same image with the objects at `index` only."""
        outlines = tuple(self.outlines[i] for i in index)
        return Picture(self.image, self.boxes[index], self.class_id[index], outlines)

    def with_image(self, image: Pixels) -> Picture:
        """Other pixels of the same size, the same objects."""
        return Picture(image, self.boxes, self.class_id, self.outlines)


def join(image: Pixels, parts: list[Picture]) -> Picture:
    """All objects of `parts` on one image whose coordinates they already have."""
    return Picture(
        image,
        np.concatenate([np.zeros((0, 4), np.float32), *(part.boxes for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.class_id for part in parts)]),
        tuple(outline for part in parts for outline in part.outlines),
    )


def cut(picture: Picture, limits: Boxes) -> Picture:
    """Clip the objects to `limits` and leave out those of which too little remains.

    limits: (4,) x1, y1, x2, y2 for all, or (n, 4) for each.
    """
    if not len(picture):
        return picture
    low, high = limits[..., [0, 1, 0, 1]], limits[..., [2, 3, 2, 3]]
    boxes = np.minimum(np.maximum(picture.boxes, low), high)
    outlines = picture.outlines
    if any(outlines):
        each = np.broadcast_to(limits, boxes.shape)
        outlines = tuple(
            clip_outline(outline, each[i]) if outline and changed else outline
            for i, (outline, changed) in enumerate(
                zip(outlines, (boxes != picture.boxes).any(1), strict=True)
            )
        )
        for i, outline in enumerate(outlines):
            if outline is not picture.outlines[i]:
                boxes[i] = bounds(outline)
    sides, full = boxes[:, 2:] - boxes[:, :2], picture.boxes[:, 2:] - picture.boxes[:, :2]
    part = sides.prod(1) / np.maximum(full.prod(1), 1e-9)
    kept = (sides.min(1) >= MIN_SIDE) & (part >= MIN_PART)
    whole = Picture(picture.image, boxes, picture.class_id, outlines)
    return whole if kept.all() else whole.choose(np.flatnonzero(kept))


def bounds(outline: Outline) -> Boxes:
    """x1, y1, x2, y2 of an outline; of an empty one a box without area."""
    if not outline:
        return np.zeros(4, np.float32)
    points = np.concatenate(outline)
    return np.concatenate([points.min(0), points.max(0)]).astype(np.float32)


def clip_outline(outline: Outline, limits: Boxes) -> Outline:
    """Cut an outline's polygons at x1, y1, x2, y2 (Sutherland-Hodgman)."""
    x1, y1, x2, y2 = (float(limit) for limit in limits)
    clipped = []
    for polygon in outline:
        points = polygon
        for axis, limit, sign in ((0, x1, 1), (0, x2, -1), (1, y1, 1), (1, y2, -1)):
            points = _clip_side(points, axis, limit, sign)
        if len(points) >= 3:
            clipped.append(points.astype(np.float32))
    return tuple(clipped)


def _clip_side(points: NDArray[np.float32], axis: int, limit: float, sign: int) -> NDArray[np.float32]:
    """The part of a polygon where sign * (coordinate - limit) >= 0."""
    if not len(points):
        return points
    depth = sign * (points[:, axis] - limit)
    after, depth_after = np.roll(points, -1, 0), np.roll(depth, -1)
    crosses = (depth >= 0) != (depth_after >= 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(crosses, depth / (depth - depth_after), 0)[:, None]
    crossing = points + share.astype(np.float32) * (after - points)
    crossing[:, axis] = limit
    # Each corner is followed by the crossing of the edge that starts there.
    both = np.stack([points, crossing], 1).reshape(-1, 2)
    return np.asarray(both[np.stack([depth >= 0, crosses], 1).reshape(-1)])
