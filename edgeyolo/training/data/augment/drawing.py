"""Drawing: pictures on a canvas, seen through a matrix, in one interpolation each.

A canvas is a plan only. Every picture on it is drawn straight from its file's pixels into the result, decoded no finer
than it is seen; one that is not seen is not decoded at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeyolo.runtime.preprocess import Letterbox
from edgeyolo.training.data.augment.geometry import Matrix, moved, through, warp_objects
from edgeyolo.training.data.augment.picture import PAD_VALUE, Picture, Pixels, cut, join

Size = tuple[int, int]
Region = tuple[int, int, int, int]  # x1, y1, x2, y2 on the canvas
Place = tuple[float, float, int, int]  # a picture's factors x, y to the canvas, and its corner there


class Pictures(Protocol):
    """Pictures by number, of sizes known before they are decoded."""

    def __len__(self) -> int: ...

    def size_of(self, index: int) -> Size:
        """(height, width) in pixels."""

    def load(self, index: int, wanted: Size) -> Picture:
        """The picture, of the `wanted` (height, width) or more where it has them."""


@dataclass(frozen=True)
class Tile:
    """Place of picture `index` on a canvas.

    Its top left corner is at (x, y), it covers `size` = (height, width) there.
    """

    index: int
    x: int
    y: int
    size: Size

    def at(self, x: int, y: int) -> Tile:
        """The same at another place."""
        return Tile(self.index, x, y, self.size)


@dataclass(frozen=True)
class Canvas:
    """Grey of `size` = (height, width) with tiles on it.

    Later tiles cover earlier ones; what sticks out is cut off.
    """

    size: Size
    tiles: tuple[Tile, ...]


def scaled_tile(index: int, size: Size, side: int) -> Tile:
    """Tile at (0, 0) of a picture of `size`, its long side scaled to `side` pixels."""
    height, width = (max(each * side // max(size), 1) for each in size)
    return Tile(index, 0, 0, (height, width))


def letterboxed(index: int, size: Size, canvas: Size) -> Canvas:
    """Canvas with a picture of `size` fitted into it: scaled and centred."""
    place = Letterbox.fit(size, canvas)
    return Canvas(canvas, (Tile(index, place.left, place.top, place.resized),))


def draw(canvas: Canvas, pictures: Pictures, matrix: Matrix, target: Size) -> Picture:
    """The canvas seen through `matrix` (3, 3) at `target` = (height, width).

    Objects are cut at the borders of their picture, of the canvas and of the result.
    """
    image = np.full((*target, 3), PAD_VALUE, np.uint8)
    view = _Upright.of(matrix) or _Turned(matrix)
    parts, limits = [], []
    for tile in canvas.tiles:
        region = _on_canvas(tile, canvas.size)
        if region is None or not view.sees(region, target):
            continue
        picture = pictures.load(tile.index, view.wanted(tile))
        factor = tile.size[1] / picture.size[1], tile.size[0] / picture.size[0]
        view.paint(image, picture.image, (*factor, tile.x, tile.y), region)
        parts.append(moved(picture, np.array(factor), np.array([tile.x, tile.y])))
        limits.append(np.full((len(picture), 4), region, np.float32))
    joined = join(image, parts)
    if len(joined):
        joined = cut(joined, np.concatenate(limits))
    return cut(warp_objects(joined, matrix), np.array([0, 0, *target[::-1]], np.float32))


def _on_canvas(tile: Tile, canvas: Size) -> Region | None:
    """The part of a tile that is on the canvas; None where there is none."""
    left, top = max(tile.x, 0), max(tile.y, 0)
    right, bottom = min(tile.x + tile.size[1], canvas[1]), min(tile.y + tile.size[0], canvas[0])
    return (left, top, right, bottom) if left < right and top < bottom else None


@dataclass(frozen=True)
class _Upright:
    """A view that scales and shifts only, as nearly all are.

    (x, y) is seen at (x * a + c, y * b + d).
    """

    a: float
    b: float
    c: float
    d: float

    @classmethod
    def of(cls, matrix: Matrix) -> _Upright | None:
        """The view of a matrix; None where it does more, or mirrors."""
        (a, skew, c), (shear, b, d), last = matrix.tolist()
        if skew or shear or last != [0, 0, 1] or min(a, b) <= 0:
            return None
        return cls(a, b, c, d)

    def pixels(self, region: Region, target: Size) -> tuple[int, int, int, int]:
        """Pixels x1, y1, x2, y2 whose centres see the region.

        Tiles side by side leave nothing between them.
        """
        left, top, right, bottom = region
        x = (min(max(math.ceil(at * self.a + self.c - 0.5), 0), target[1]) for at in (left, right))
        y = (min(max(math.ceil(at * self.b + self.d - 0.5), 0), target[0]) for at in (top, bottom))
        (x1, x2), (y1, y2) = x, y
        return x1, y1, x2, y2

    def sees(self, region: Region, target: Size) -> bool:
        """Return True if some pixel sees the region."""
        x1, y1, x2, y2 = self.pixels(region, target)
        return x1 < x2 and y1 < y2

    def wanted(self, tile: Tile) -> Size:
        """(height, width) at which the whole tile would be seen."""
        return _enough(tile.size[0] * self.b), _enough(tile.size[1] * self.a)

    def paint(self, image: Pixels, source: Pixels, place: Place, region: Region) -> None:
        """Draw a picture at its place on the canvas into the pixels that see the region."""
        (fx, fy, x, y), (x1, y1, x2, y2) = place, self.pixels(region, (image.shape[0], image.shape[1]))
        sx, sy = fx * self.a, fy * self.b
        tx, ty = x * self.a + self.c - x1, y * self.b + self.d - y1
        matrix = np.array([[sx, 0, tx + (sx - 1) / 2], [0, sy, ty + (sy - 1) / 2]])
        size = x2 - x1, y2 - y1
        image[y1:y2, x1:x2] = cv2.warpAffine(source, matrix, size, borderMode=cv2.BORDER_REPLICATE)


@dataclass(frozen=True)
class _Turned:
    """Any other view."""

    matrix: Matrix

    def _corners(self, region: Region) -> NDArray[np.float64]:
        return through(self.matrix, np.array(region)[[[0, 1], [2, 1], [2, 3], [0, 3]]])

    def sees(self, region: Region, target: Size) -> bool:
        """Return False if all corners of the region lie beyond one side of the result."""
        corners = self._corners(region)
        return bool((corners.max(0) > 0).all() and (corners.min(0) < target[::-1]).all())

    def wanted(self, tile: Tile) -> Size:
        """(height, width) of the tile's longest sides as they are seen."""
        corners = self._corners((tile.x, tile.y, tile.x + tile.size[1], tile.y + tile.size[0]))
        sides = np.linalg.norm(np.roll(corners, -1, 0) - corners, axis=1)
        return _enough(sides[[1, 3]].max()), _enough(sides[[0, 2]].max())

    def paint(self, image: Pixels, source: Pixels, place: Place, region: Region) -> None:
        """Draw a picture at its place on the canvas.

        It takes the pixels whose centres see the region.
        """
        to_canvas = np.diag([*place[:2], 1.0])
        to_canvas[:2, 2] = place[2:]
        (left, top), (right, bottom) = (
            through(np.linalg.inv(to_canvas), np.reshape(region, (2, 2))).round().astype(int)
        )
        known = np.zeros(source.shape[:2], np.uint8)
        known[top:bottom, left:right] = 1
        size, centres = image.shape[1::-1], _by_centres(self.matrix @ to_canvas)
        pixels = cv2.warpPerspective(source, centres, size, borderMode=cv2.BORDER_REPLICATE)
        mask = cv2.warpPerspective(known, centres, size, flags=cv2.INTER_NEAREST)
        cv2.copyTo(pixels, mask, image)


def _enough(side: float) -> int:
    """Whole pixels of a side: rounding must not decide on twice as many."""
    return math.ceil(side * 0.999)


def _by_centres(matrix: Matrix) -> Matrix:
    """A matrix of pixel edges as OpenCV takes it, which counts from pixel centres."""
    half = np.eye(3)
    half[:2, 2] = 0.5
    return np.asarray(np.linalg.inv(half) @ matrix @ half)
