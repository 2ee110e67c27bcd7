"""Phases of training: picture sizes and augmentation by epoch.

Rates are not part of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeyolo.errors import UsageError
from edgeyolo.training.recipe import Recipe


@dataclass(frozen=True)
class Phase:
    """Settings of one epoch.

    image_size: pixels. recipe: the run's, perhaps without what mixes pictures.
    """

    image_size: int
    recipe: Recipe


@dataclass(frozen=True)
class Phases:
    """The phases of a run, as a pure function of the epoch.

    Pictures grow from `first_size` to `image_size` pixels by a `stride` at a time, each size for as many
    epochs: early epochs, in which everything changes anyway, then cost a fraction. In the last
    `recipe.plain_epochs` there is no mosaic, mixup or paste-in, so that a network ends on pictures as they
    are; they have the full size.
    """

    recipe: Recipe
    epochs: int
    image_size: int
    first_size: int
    stride: int

    def __post_init__(self) -> None:
        for name in ("image_size", "first_size"):
            size = getattr(self, name)
            if size % self.stride:
                nearest = max(round(size / self.stride), 1) * self.stride
                raise UsageError(
                    f"{name}={size}: expected a multiple of {self.stride}", hint=f"Try {nearest}."
                )
        if self.first_size > self.image_size:
            raise UsageError(f"first_size={self.first_size}: expected at most image_size={self.image_size}")

    @property
    def last(self) -> Phase:
        """The last phase: pictures of full size, as they are."""
        return Phase(self.image_size, replace(self.recipe, mosaic=0.0, mixup=0.0, paste_in=0.0))

    def at(self, epoch: int) -> Phase:
        """The phase of an epoch, counted from 0."""
        growing = self.epochs - self.recipe.plain_epochs
        if epoch >= growing:
            return self.last
        sizes = range(self.first_size, self.image_size + 1, self.stride)
        return Phase(sizes[epoch * len(sizes) // growing], self.recipe)
