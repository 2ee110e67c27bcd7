"""Learning rates, momentum and gradient accumulation of every iteration.

They are a pure function of its number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeyolo.training.recipe import Recipe


@dataclass(frozen=True)
class Rates:
    """Rates of one iteration.

    accumulate: iterations whose gradients make one optimiser step.
    """

    lr: float
    bias_lr: float
    momentum: float
    accumulate: int


@dataclass(frozen=True)
class Schedule:
    """Warm-up, then a cosine from lr0 to lr0 * lrf over all epochs.

    batches: iterations of an epoch. batch_size: images of an iteration, all processes together. The warm-up
    lasts max(warmup_epochs, warmup_iterations), but at most half of the run: without that limit, a small
    data set would never leave it.
    """

    recipe: Recipe
    epochs: int
    batches: int
    batch_size: int

    @property
    def warmup(self) -> int:
        """Iterations of warm-up."""
        wanted = max(round(self.recipe.warmup_epochs * self.batches), self.recipe.warmup_iterations)
        return min(wanted, self.epochs * self.batches // 2)

    @property
    def accumulate(self) -> int:
        """Iterations that make up the nominal batch."""
        return max(round(self.recipe.nominal_batch / self.batch_size), 1)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run, if all are of nominal batches.

        The warm-up's are smaller and more.
        """
        return self.epochs * self.batches // self.accumulate

    @property
    def weight_decay(self) -> float:
        """The recipe's weight decay, for the images that one optimiser step really sees."""
        return self.recipe.weight_decay * self.batch_size * self.accumulate / self.recipe.nominal_batch

    def progress(self, iteration: int) -> float:
        """Share of the run that is over at an iteration, 0..1, in whole epochs."""
        return iteration // self.batches / self.epochs

    def at(self, iteration: int) -> Rates:
        """The rates of an iteration, counted from 0 over the whole run."""
        recipe = self.recipe
        cosine = (1 + math.cos(math.pi * self.progress(iteration))) / 2
        lr = recipe.lr0 * (cosine * (1 - recipe.lrf) + recipe.lrf)
        if iteration >= self.warmup:
            return Rates(lr, lr, recipe.momentum, self.accumulate)
        share = iteration / self.warmup
        return Rates(
            lr=lr * share,
            bias_lr=recipe.warmup_bias_lr + (lr - recipe.warmup_bias_lr) * share,
            momentum=recipe.warmup_momentum + (recipe.momentum - recipe.warmup_momentum) * share,
            accumulate=max(round(1 + (self.recipe.nominal_batch / self.batch_size - 1) * share), 1),
        )


def makes_a_step(schedule: Schedule) -> bool:
    """Return True if a run takes at least one optimiser step.

    Only a step that changes anything counts.
    """
    last = 0
    for iteration in range(schedule.epochs * schedule.batches):
        rates = schedule.at(iteration)
        if iteration + 1 - last >= rates.accumulate:
            if rates.lr > 0:  # the warm-up starts from 0
                return True
            last = iteration + 1
    return False
