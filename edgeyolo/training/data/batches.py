"""Batches for training: which pictures in which order, and their collation.

All chance comes from (seed, epoch, position), never from the state of a worker: any number of workers,
started at any batch of any epoch, gives the same batches.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from edgeyolo.datasets import Problem
from edgeyolo.runtime.preprocess import rectangular_shape
from edgeyolo.training.data.augment import Augmenter, Picture
from edgeyolo.training.data.augment.pipeline import Extra
from edgeyolo.training.data.phases import Phase
from edgeyolo.training.data.pictures import PictureStore


class Place(NamedTuple):
    """One picture of an epoch.

    The epoch, its position in the epoch's order, its number in the data set. aspects: the least and the largest
    height / width in its batch, where that is rectangular.
    """

    epoch: int
    position: int
    picture: int
    aspects: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of training pictures and their labels.

    images: uint8 (B, 3, size, size), RGB. targets: float32 (n, 6) rows of image, class, cx, cy, w, h
    (relative). numbers: the pictures' in the data set. problems: damaged images met while making it.
    """

    images: Tensor
    targets: Tensor
    numbers: tuple[int, ...]
    problems: tuple[Problem, ...] = ()

    def pin_memory(self) -> Batch:
        """The same in pinned memory, for copies that do not make the host wait."""
        return Batch(self.images.pin_memory(), self.targets.pin_memory(), self.numbers, self.problems)


@dataclass(frozen=True, eq=False)
class Item:
    """An augmented picture and its number in the data set.

    It also has the damaged images met on the way to it.
    """

    picture: Picture
    number: int
    problems: tuple[Problem, ...] = ()


class AugmentedSet(Dataset[Item]):
    """Augmented pictures of a store, by Place.

    They have the size and manner of their epoch's phase. stride: of the sides of rectangular batches, in pixels.
    """

    def __init__(
        self,
        store: PictureStore,
        phase_of: Callable[[int], Phase],
        seed: int,
        *,
        extra: Extra | None = None,
        stride: int = 32,
    ) -> None:
        self.store, self.phase_of, self.seed, self.extra = store, phase_of, seed, extra
        self.stride = stride

    def __getitem__(self, place: Place) -> Item:
        rng = np.random.default_rng([self.seed, place.epoch, place.position])
        phase = self.phase_of(place.epoch)
        size = phase.image_size
        shape = rectangular_shape(place.aspects, size, self.stride) if place.aspects else (size, size)
        augment = Augmenter(phase.recipe, size, self.store, self.extra, shape)
        picture = augment(place.picture, rng)
        return Item(picture, place.picture, self.store.news())


class EpochBatches(Sampler[list[Place]]):
    """The batches of one epoch after another.

    `begin(epoch, batch)`, then iterate to the end of that epoch.

    Of `processes` that train together, number `rank` gets an equal share of every batch of `batch_size`.
    weights: draw pictures with these probabilities, and repeats, instead of each once. aspects: height / width of
    every picture, to make batches of pictures that are alike in it; their order is by chance all the same.
    """

    def __init__(self, count: int, batch_size: int, seed: int, *, rank: int = 0, processes: int = 1) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.rank, self.processes = rank, processes
        self.weights: NDArray[np.float64] | None = None
        self.aspects: NDArray[np.float64] | None = None
        self._epoch = self._start = 0

    def begin(self, epoch: int, batch: int = 0) -> None:
        """Go to a batch of an epoch."""
        self._epoch, self._start = epoch, batch

    def __len__(self) -> int:
        return math.ceil(self.count / self.batch_size)

    def __iter__(self) -> Iterator[list[Place]]:
        rng = np.random.default_rng([self.seed, self._epoch])
        if self.weights is None:
            order = rng.permutation(self.count)
        else:
            order = rng.choice(self.count, self.count, p=self.weights / self.weights.sum())
        which = np.arange(len(self))
        if self.aspects is not None:
            order = order[np.argsort(self.aspects[order], kind="stable")]
            which = rng.permutation(len(self))
        for batch in which[self._start :]:
            first = int(batch) * self.batch_size
            numbers = order[first : first + self.batch_size]
            aspects = None if self.aspects is None else _range(self.aspects[numbers])
            places = [Place(self._epoch, first + i, int(number), aspects) for i, number in enumerate(numbers)]
            missing = -len(places) % self.processes  # every process needs the same number
            places += (places * self.processes)[:missing]
            yield places[self.rank :: self.processes]


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def collate(items: Sequence[Item]) -> Batch:
    """Pictures of one size as a Batch."""
    rows = []
    images = np.empty((len(items), 3, *items[0].picture.size), np.uint8)
    for number, item in enumerate(items):
        picture = item.picture
        images[number] = cv2.split(picture.image)[::-1]  # planes, and BGR to RGB
        height, width = picture.size
        low, high = picture.boxes[:, :2], picture.boxes[:, 2:]
        row = np.empty((len(picture), 6), np.float32)
        row[:, 0], row[:, 1] = number, picture.class_id
        row[:, 2:4] = (low + high) / 2 / [width, height]
        row[:, 4:] = (high - low) / [width, height]
        rows.append(row)
    problems = tuple(problem for item in items for problem in item.problems)
    targets = torch.from_numpy(np.concatenate(rows))
    return Batch(torch.from_numpy(images), targets, tuple(item.number for item in items), problems)


def make_loader(
    pictures: AugmentedSet, batches: EpochBatches, *, workers: int = 0, pin: bool = False
) -> DataLoader[Any]:
    """A loader of Batch.

    Workers stay between epochs; with 0 the calling process does their work.
    """
    return DataLoader(
        pictures,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        persistent_workers=workers > 0,
        worker_init_fn=_start_worker,
    )


def _start_worker(number: int) -> None:
    del number
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which ends its workers
    cv2.setNumThreads(0)  # as many processes as cores are at work already
