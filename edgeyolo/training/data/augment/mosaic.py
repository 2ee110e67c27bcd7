"""Mosaics: four or nine pictures side by side on one canvas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeyolo.training.data.augment.drawing import Canvas, Tile


def mosaic_of_four(tiles: Sequence[Tile], size: int, rng: np.random.Generator) -> Canvas:
    """Four pictures around a random centre of a canvas of 2 size x 2 size."""
    x, y = (int(value) for value in rng.integers(size // 2, 2 * size - size // 2 + 1, 2))
    corners = [(-1, -1), (0, -1), (-1, 0), (0, 0)]
    placed = [
        tile.at(x + right * tile.size[1], y + below * tile.size[0])
        for tile, (right, below) in zip(tiles, corners, strict=True)
    ]
    return Canvas((2 * size, 2 * size), tuple(placed))


def mosaic_of_nine(tiles: Sequence[Tile], size: int, rng: np.random.Generator) -> Canvas:
    """Mosaic of a picture with eight others around it.

    A random 2 size x 2 size of it is seen.
    """
    (height, width), (left, top) = tiles[0].size, rng.integers(0, size + 1, 2)
    x1, y1 = size + (size - width) // 2 - int(left), size + (size - height) // 2 - int(top)
    x2, y2 = x1 + width, y1 + height
    around = [(i, j) for j in (-1, 0, 1) for i in (-1, 0, 1) if (i, j) != (0, 0)]
    placed = []
    for tile, (i, j) in zip(tiles[1:], around, strict=True):
        h, w = tile.size
        x = {-1: x1 - w, 0: (x1 + x2 - w) // 2, 1: x2}[i]
        y = {-1: y1 - h, 0: (y1 + y2 - h) // 2, 1: y2}[j]
        placed.append(tile.at(x, y))
    # The middle one is laid last: neighbours that are longer than it must not cover it.
    return Canvas((2 * size, 2 * size), (*placed, tiles[0].at(x1, y1)))
