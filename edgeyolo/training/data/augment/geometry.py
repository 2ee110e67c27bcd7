"""Moving pictures about: warps, flips, scaling.

Boxes and outlines follow to a fraction of a pixel.

Coordinates are of pixel edges: pixel i covers i to i + 1.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeyolo.runtime.preprocess import fit_long_side
from edgeyolo.training.data.augment.picture import Boxes, Outline, Picture, bounds
from edgeyolo.training.recipe import Recipe

Matrix = NDArray[np.float64]


def scale_to(picture: Picture, size: int) -> Picture:
    """Scale so that the long side has `size` pixels."""
    image, _ = fit_long_side(picture.image, size)
    factor = np.array(image.shape[1::-1], np.float32) / np.array(picture.image.shape[1::-1], np.float32)
    return moved(picture, factor, np.zeros(2)).with_image(image)


def shifted(picture: Picture, x: float, y: float) -> Picture:
    """The objects moved by (x, y) pixels; the image stays."""
    return moved(picture, np.ones(2), np.array([x, y]))


def flip_left_right(picture: Picture) -> Picture:
    """The mirror image."""
    return moved(
        picture.with_image(np.asarray(cv2.flip(picture.image, 1), np.uint8)),
        np.array([-1, 1]),
        np.array([picture.size[1], 0]),
    )


def flip_up_down(picture: Picture) -> Picture:
    """Upside down."""
    return moved(
        picture.with_image(np.asarray(cv2.flip(picture.image, 0), np.uint8)),
        np.array([1, -1]),
        np.array([0, picture.size[0]]),
    )


def moved(picture: Picture, factor: NDArray[Any], shift: NDArray[Any]) -> Picture:
    """The objects at point * factor + shift, both (2,) of x, y; the image stays."""
    factor, shift = factor.astype(np.float32), shift.astype(np.float32)
    corners = picture.boxes.reshape(-1, 2, 2) * factor + shift
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    outlines = tuple(tuple(part * factor + shift for part in outline) for outline in picture.outlines)
    return Picture(picture.image, boxes, picture.class_id, outlines)


def random_matrix(
    rng: np.random.Generator, recipe: Recipe, source: tuple[int, int], target: tuple[int, int]
) -> Matrix:
    """Random homogeneous matrix (3, 3) from source points to target points.

    It takes points of a `source` image to points of a `target` image.

    Sizes are (height, width). Around the source's centre: perspective, rotation and scale, shear; then to the
    target's centre, translated by up to `recipe.translate` of its size.
    """
    centre = np.eye(3)
    centre[:2, 2] = -source[1] / 2, -source[0] / 2
    perspective = np.eye(3)
    perspective[2, :2] = rng.uniform(-recipe.perspective, recipe.perspective, 2)
    turn = np.deg2rad(rng.uniform(-recipe.degrees, recipe.degrees))
    # At a scale of 0 nothing would be left of the picture.
    scale = max(rng.uniform(1 - recipe.scale, 1 + recipe.scale), 0.05)
    rotation = np.eye(3)
    rotation[:2, :2] = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shear = np.eye(3)
    shear[0, 1], shear[1, 0] = np.tan(np.deg2rad(rng.uniform(-recipe.shear, recipe.shear, 2)))
    move = np.eye(3)
    where = rng.uniform(0.5 - recipe.translate, 0.5 + recipe.translate, 2)
    move[:2, 2] = where * [target[1], target[0]]
    return np.asarray(move @ shear @ rotation @ perspective @ centre)


def warp_objects(picture: Picture, matrix: Matrix) -> Picture:
    """The objects seen through `matrix`; the image stays."""
    outlines = tuple(
        tuple(through(matrix, part).astype(np.float32) for part in parts) for parts in picture.outlines
    )
    boxes = _warp_boxes(picture.boxes, outlines, matrix)
    return Picture(picture.image, boxes, picture.class_id, outlines)


def _warp_boxes(boxes: Boxes, outlines: tuple[Outline, ...], matrix: Matrix) -> Boxes:
    """Bounds of the warped corners, or of the warped outline where there is one."""
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)
    moved = through(matrix, corners).reshape(-1, 4, 2)
    result = np.concatenate([moved.min(1), moved.max(1)], 1).astype(np.float32)
    for i, outline in enumerate(outlines):
        if outline:
            result[i] = bounds(outline)
    return result


def through(matrix: Matrix, points: NDArray[Any]) -> NDArray[np.float64]:
    """Points (n, 2) through a homogeneous matrix."""
    moved = np.concatenate([points, np.ones((len(points), 1))], 1) @ matrix.T
    return np.asarray(moved[:, :2] / moved[:, 2:])
