"""Training for a fixed time.

Rates and the plain end follow the clock, whatever the number of epochs comes to.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from edgeyolo.datasets import Dataset
from edgeyolo.models.network import Network
from edgeyolo.training.config import TrainConfig
from edgeyolo.training.data.phases import Phase, Phases
from edgeyolo.training.loop.listener import Listener
from edgeyolo.training.loop.schedule import Schedule
from edgeyolo.training.loop.trainer import Trainer
from edgeyolo.training.recipe import Recipe


@dataclass(frozen=True)
class Clock:
    """Beginning and end of a run, in seconds of `time.monotonic`.

    All processes of a machine share it.
    """

    begin: float
    end: float

    @classmethod
    def of(cls, seconds: float) -> Clock:
        """A clock that begins now."""
        now = time.monotonic()
        return cls(now, now + seconds)

    @property
    def share(self) -> float:
        """Share of the time that is over, 0..1."""
        return min((time.monotonic() - self.begin) / max(self.end - self.begin, 1e-9), 1.0)


@dataclass(frozen=True)
class TimedSchedule(Schedule):
    """A schedule whose cosine follows the clock.

    It follows the epochs where those are over first.
    """

    clock: Clock

    def progress(self, iteration: int) -> float:
        """Share of the run that is over."""
        return max(self.clock.share, super().progress(iteration))


@dataclass(frozen=True)
class TimedPhases(Phases):
    """Phases whose end without mosaic begins by the clock."""

    clock: Clock

    def at(self, epoch: int) -> Phase:
        """The phase of an epoch that begins now."""
        plain = self.recipe.plain_epochs / self.epochs
        return self.last if self.clock.share >= 1 - plain else super().at(epoch)


class TimedTrainer(Trainer):
    """A run that ends with the epoch in which its time is over.

    It keeps no state to go on from.
    """

    def __init__(
        self,
        network: Network,
        training: Dataset,
        validation: Dataset | None,
        *,
        recipe: Recipe,
        config: TrainConfig,
        folder: Path,
        clock: Clock,
        listener: Listener | None = None,
    ) -> None:
        super().__init__(
            network, training.class_names, training, validation, recipe=recipe, config=config, folder=folder,
            listener=listener,
        )  # fmt: skip
        self.clock = clock
        self.schedule = TimedSchedule(recipe, config.epochs, len(self.batches), config.batch_size, clock)
        self.step.schedule = self.schedule
        size = config.image_size
        self.phases = TimedPhases(
            recipe, config.epochs, size, config.first_size or size, max(network.strides), clock
        )

    @property
    def ended(self) -> str:
        """Reason why the run goes no further; an epoch is trained in any case."""
        over = self.clock.share >= 1 and self.position.epoch
        return "its time is over" if over else super().ended

    def save(self) -> None:
        """Keep nothing: the machine is given back.

        The weights are written after every epoch anyway.
        """
