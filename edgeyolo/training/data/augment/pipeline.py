"""The augmentation of a training picture, in the order of the published recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeyolo.training.augment.colour import change_hsv
from edgeyolo.training.augment.geometry import (
    flip_left_right,
    flip_up_down,
    letterbox,
    random_matrix,
    scale_to,
    warp,
)
from edgeyolo.training.augment.mixing import copy_paste, mixup, paste_in
from edgeyolo.training.augment.mosaic import mosaic_of_four, mosaic_of_nine
from edgeyolo.training.augment.picture import Picture, cut
from edgeyolo.training.recipe import Recipe

DONORS = 3
Extra = Callable[[Picture, np.random.Generator], Picture]


@dataclass(frozen=True)
class Augmenter:
    """Makes training pictures of `size` x `size` pixels out of a collection of `count` pictures.

    load: index -> Picture, of any size. extra: a further change of the finished mosaic, before colour and
    flips (see `albumentations_hook`). All chance comes from the Generator given to a call: the same one
    gives the same picture.
    """

    recipe: Recipe
    size: int
    count: int
    load: Callable[[int], Picture]
    extra: Extra | None = None

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
            donors = [self._scaled(self._any(rng)) for _ in range(DONORS)]
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
        return int(rng.integers(self.count))

    def _scaled(self, index: int) -> Picture:
        return cut(scale_to(self.load(index), self.size))

    def _mosaic(self, index: int, rng: np.random.Generator) -> Picture:
        nine = rng.random() < self.recipe.mosaic9
        others = [self._any(rng) for _ in range(8 if nine else 3)]
        tiles = [self._scaled(i) for i in (index, *others)]
        if not nine:
            tiles = [tiles[i] for i in rng.permutation(4)]
        canvas = (mosaic_of_nine if nine else mosaic_of_four)(tiles, self.size, rng)
        return self._warped(canvas, rng)

    def _single(self, index: int, rng: np.random.Generator) -> Picture:
        return self._warped(letterbox(self.load(index), (self.size, self.size)), rng)

    def _warped(self, picture: Picture, rng: np.random.Generator) -> Picture:
        if self.recipe.copy_paste:
            picture = copy_paste(picture, self.recipe.copy_paste, rng)
        target = (self.size, self.size)
        return warp(picture, random_matrix(rng, self.recipe, picture.size, target), target)
