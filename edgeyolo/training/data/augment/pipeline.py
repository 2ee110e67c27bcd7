"""The augmentation of a training picture, in the order of the published recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from edgeyolo.training.data.augment.drawing import (
    Canvas,
    Pictures,
    Size,
    Tile,
    draw,
    letterboxed,
    scaled_tile,
)
from edgeyolo.training.data.augment.geometry import flip_left_right, flip_up_down, random_matrix
from edgeyolo.training.data.augment.mixing import copy_paste, mixup, paste_in
from edgeyolo.training.data.augment.mosaic import mosaic_of_four, mosaic_of_nine
from edgeyolo.training.data.augment.picture import Picture, Pixels
from edgeyolo.training.recipe import Recipe

DONORS = 3
Extra = Callable[[Picture, np.random.Generator], Picture]


@dataclass(frozen=True)
class Augmenter:
    """Maker of training pictures of `size` x `size` pixels out of a collection.

    shape: (height, width) of those without mosaic, by default the same square.

    extra: a further change of the finished mosaic, before colour and flips (see `albumentations_hook`). All chance
    comes from the Generator given to a call: the same one gives the same picture.
    """

    recipe: Recipe
    size: int
    pictures: Pictures
    extra: Extra | None = None
    shape: Size | None = None

    def __call__(self, index: int, rng: np.random.Generator) -> Picture:
        """The picture that index and rng make."""
        recipe = self.recipe
        if rng.random() < recipe.mosaic:
            picture = self._mosaic(index, rng)
            if rng.random() < recipe.mixup:
                picture = mixup(picture, self._mosaic(self._any(rng), rng), recipe.mixup_alpha, rng)
        else:
            picture = self._single(index, rng)
        if rng.random() < recipe.paste_in:
            donors = [self._donor(self._any(rng)) for _ in range(DONORS)]
            picture = paste_in(picture, donors, recipe.paste_in_objects, rng)
        if self.extra is not None:
            picture = self.extra(picture, rng)
        image = change_hsv(picture.image, recipe.hsv_h, recipe.hsv_s, recipe.hsv_v, rng)
        picture = picture.with_image(image)
        if rng.random() < recipe.flipud:
            picture = flip_up_down(picture)
        if rng.random() < recipe.fliplr:
            picture = flip_left_right(picture)
        return picture

    def _any(self, rng: np.random.Generator) -> int:
        return int(rng.integers(len(self.pictures)))

    def _tile(self, index: int) -> Tile:
        return scaled_tile(index, self.pictures.size_of(index), self.size)

    def _donor(self, index: int) -> Picture:
        tile = self._tile(index)
        return draw(Canvas(tile.size, (tile,)), self.pictures, np.eye(3), tile.size)

    def _mosaic(self, index: int, rng: np.random.Generator) -> Picture:
        nine = rng.random() < self.recipe.mosaic9
        others = [self._any(rng) for _ in range(8 if nine else 3)]
        tiles = [self._tile(i) for i in (index, *others)]
        if not nine:
            tiles = [tiles[i] for i in rng.permutation(4)]
        canvas = (mosaic_of_nine if nine else mosaic_of_four)(tiles, self.size, rng)
        return self._drawn(canvas, (self.size, self.size), rng)

    def _single(self, index: int, rng: np.random.Generator) -> Picture:
        shape = self.shape or (self.size, self.size)
        return self._drawn(letterboxed(index, self.pictures.size_of(index), shape), shape, rng)

    def _drawn(self, canvas: Canvas, target: Size, rng: np.random.Generator) -> Picture:
        matrix = random_matrix(rng, self.recipe, canvas.size, target)
        picture = draw(canvas, self.pictures, matrix, target)
        return copy_paste(picture, self.recipe.copy_paste, rng) if self.recipe.copy_paste else picture


def change_hsv(
    image: Pixels, hue: float, saturation: float, value: float, rng: np.random.Generator
) -> Pixels:
    """Multiply hue, saturation and value by random factors from 1 - x to 1 + x each.

    BGR in, BGR out.
    """
    factors = 1 + rng.uniform(-1, 1, 3) * [hue, saturation, value]
    levels = np.arange(256, dtype=np.float64)
    tables = np.stack([(levels * factors[0]) % 180, *np.clip(levels * factors[1:, None], 0, 255)], 1)
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    cv2.LUT(hsv, tables.astype(np.uint8)[None], dst=hsv)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), np.uint8)
