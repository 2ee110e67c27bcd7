"""The batch size that fits into memory.

A step is measured with two small batches; memory grows by the same amount with every further picture.
"""

from __future__ import annotations

import copy
import gc
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch

from edgeyolo.datasets import Dataset
from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo.support.memory import available_memory, peak_memory
from edgeyolo.training.config import TrainConfig
from edgeyolo.training.data.batches import AugmentedSet, Batch, Place, collate
from edgeyolo.training.data.phases import Phase
from edgeyolo.training.data.pictures import PictureStore
from edgeyolo.training.loop.processes import Processes
from edgeyolo.training.loop.schedule import Schedule
from edgeyolo.training.loop.state import Position
from edgeyolo.training.loop.step import Stepper, explain_memory
from edgeyolo.training.loop.technique import ORDINARY, Technique, Trainable
from edgeyolo.training.recipe import Recipe

SHARE = 0.8
"""Share of the free memory for a step: the allocator's gaps, validation and other programs need some too."""

MEASURED = (2, 4)
"""Pictures of the two batches that are measured, after one of a single picture that loads the libraries."""


class Memory(Protocol):
    """Memory of the device that a run computes on."""

    def free(self) -> int:
        """Bytes that are left."""

    def peak(self, work: Callable[[], object]) -> int:
        """The most bytes in use during `work`, counted from a level that stays."""


class HostMemory:
    """Memory of the machine, as far as this process may have it."""

    def free(self) -> int:
        found = available_memory()
        if found is None:
            raise UsageError(_UNTOLD, hint=_GIVE)
        # Processes on the same machine take from the same memory.
        return found // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))

    def peak(self, work: Callable[[], object]) -> int:
        found = peak_memory(work)
        if found is None:
            raise UsageError(_UNTOLD, hint=_GIVE)
        return found


class CudaMemory:
    """Memory of a GPU, with what torch's allocator keeps for itself."""

    def __init__(self, device: str) -> None:
        self._device = device

    def free(self) -> int:
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(self._device)[0])

    def peak(self, work: Callable[[], object]) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)
        work()
        torch.cuda.synchronize(self._device)
        return int(torch.cuda.max_memory_reserved(self._device))


_GIVE = "Give a number, such as --batch 16: gradients are accumulated to the recipe's nominal batch."
_UNTOLD = "batch auto: this system does not tell how much memory a step takes"


def memory_of(device: str) -> Memory:
    """The memory of a device; UsageError for one that tells nothing of it."""
    if device == "cpu":
        return HostMemory()
    if device.startswith("cuda"):
        return CudaMemory(device)
    raise UsageError(f"batch auto: {device} does not tell how much memory a step takes", hint=_GIVE)


@dataclass(frozen=True)
class Need:
    """Bytes that a step needs: `fixed`, and `each` for every picture.

    `free` are there.
    """

    fixed: float
    each: float
    free: int

    @classmethod
    def fit(cls, level: int, peaks: dict[int, int], free: int, least: int) -> Need:
        """The line through two measured peaks above `level`.

        A picture takes at least `least`.
        """
        (few, low), (many, high) = sorted(peaks.items())
        each = max((high - low) / (many - few), least)
        return cls(max(low - level - each * few, 0.0), each, free)

    @property
    def most(self) -> int:
        """Pictures that fit into SHARE of the free memory."""
        return max(int((SHARE * self.free - self.fixed) / self.each), 0)

    def of(self, pictures: int) -> float:
        """Bytes of a step with so many pictures."""
        return self.fixed + self.each * pictures


def round_batch(most: int) -> int:
    """The largest multiple of 8 up to `most`; below 8 the largest power of two."""
    return most // 8 * 8 if most >= 8 else 1 << (most.bit_length() - 1)


def settle_batch(
    network: Trainable,
    training: Dataset,
    recipe: Recipe,
    config: TrainConfig,
    processes: Processes,
    *,
    tell: Callable[[str], None],
    technique: Technique = ORDINARY,
    memory: Memory | None = None,
) -> TrainConfig:
    """The configuration with a batch size in place of 0, which asks for one.

    It is the largest multiple of 8 (below 8: power of two) whose step fits into SHARE of the free memory, but at most
    the recipe's nominal batch, beyond which steps would be larger than the recipe's, and the number of pictures.
    `tell` hears what was chosen and why. The network is not changed.

    Raises:
        EdgeYoloError: not even one picture fits.
        UsageError: the device does not tell of its memory.
    """
    if config.batch_size:
        return config
    memory = memory or memory_of(config.device)
    measure = _Measured(network, training, recipe, config, technique=technique, processes=processes)
    need, failed = measure.need(memory)
    limits = {
        "memory": need.most if failed is None else failed - 1,
        "the recipe's nominal batch": max(recipe.nominal_batch // processes.count, 1),
        "the number of pictures": max(len(training) // processes.count, 1),
    }
    why = min(limits, key=lambda name: limits[name])
    fitting = processes.least(limits[why])
    if fitting < 1:
        raise EdgeYoloError(
            f"batch auto: a step with one picture of {measure.side} pixels takes {_size(need.of(1))}, more than "
            f"{SHARE:.0%} of the {_size(need.free)} that are free on {config.device}",
            hint="Take smaller pictures (--imgsz), or a smaller network.",
        )
    each = round_batch(fitting)
    tell(_sentence(each, processes.count, need, why))
    return replace(config, batch_size=each * processes.count)


def _sentence(each: int, processes: int, need: Need, why: str) -> str:
    said = f"batch {each * processes}" + (
        f", {each} on each of {processes} processes" if processes > 1 else ""
    )
    return (
        f"{said}: a step takes {_size(need.of(each))} of the {_size(need.free)} that are free ({_size(need.fixed)} and "
        f"{_size(need.each)} a picture, measured); limited by {why}"
    )


def _size(value: float) -> str:
    if value < 1e8:
        return f"{value / 1e6:.0f} MB"
    return f"{value / 1e9:.2f} GB" if value < 9.95e9 else f"{value / 1e9:.1f} GB"


class _TooLargeError(EdgeYoloError):
    """A batch that does not fit."""


class _Measured:
    """Steps of a copy of the network on pictures of the run."""

    def __init__(
        self,
        network: Trainable,
        training: Dataset,
        recipe: Recipe,
        config: TrainConfig,
        *,
        processes: Processes,
        technique: Technique,
    ) -> None:
        self._network, self._recipe, self._penalty = network, recipe, technique.penalty
        self._processes = processes
        stride = max(network.strides)
        # Pictures of several sizes: the largest decides.
        self.side = (
            round(1.5 * config.image_size / stride) * stride if config.multi_scale else config.image_size
        )
        self._config = replace(config, image_size=self.side, multi_scale=False, compile=False, first_size=0)
        store = PictureStore(training, size=self.side)
        phase = Phase(self.side, replace(recipe, mosaic=0.0) if config.rect_train else recipe)
        self._pictures = AugmentedSet(store, lambda _: phase, config.seed, stride=stride)
        self._cached = _cached_bytes(training, config) if config.device == "cpu" else 0

    def need(self, memory: Memory) -> tuple[Need, int | None]:
        """Need of a step, and the measured batch that did not fit, if one did not."""
        state = torch.get_rng_state()
        try:
            return self._need(memory)
        finally:
            torch.set_rng_state(state)

    def _need(self, memory: Memory) -> tuple[Need, int | None]:
        alone = memory.peak(partial(self._try, 1))
        gc.collect()
        free, level = memory.free() - self._cached, memory.peak(lambda: None)
        # Gradients wait for the nominal batch, and several processes add them up in one piece, beside them.
        copies = 3 if self._processes.count > 1 else 1
        gradients = 4 * copies * sum(value.numel() for value in self._network.parameters())
        peaks = {1: alone + gradients}
        for pictures in MEASURED:
            try:
                peaks[pictures] = memory.peak(partial(self._try, pictures)) + gradients
            except _TooLargeError:
                most = max(peaks)  # no line can be drawn, but so many did fit
                return Need(0.0, (peaks[most] - level) / most, free), pictures
            gc.collect()
        del peaks[1]  # it had the libraries to load
        least = 4 * 3 * self.side**2  # the picture itself
        return Need.fit(level, peaks, free, least), None

    def _try(self, pictures: int) -> None:
        """Make two whole steps of a new copy.

        The first makes the optimiser's momenta, which the second has beside it.
        """
        config = replace(self._config, batch_size=pictures)
        step = Stepper(
            copy.deepcopy(self._network),
            self._recipe,
            config,
            Schedule(self._recipe, 1, 1, pictures),
            Processes(device=config.device),
            penalty=self._penalty,
        )
        step.train_mode(self.side)
        try:
            for _ in range(2):  # whatever the accumulation, these iterations end it
                step(self._batch(pictures), Position(last_step=-self._recipe.nominal_batch))
        except RuntimeError as error:
            if (explained := explain_memory(error, config)) is None:
                raise
            raise (
                _TooLargeError(explained.message, hint=explained.hint) if pictures > 1 else explained
            ) from error

    def _batch(self, pictures: int) -> Batch:
        count = len(self._pictures.store)
        return collate([self._pictures[Place(0, number, number % count)] for number in range(pictures)])


def _cached_bytes(training: Dataset, config: TrainConfig) -> int:
    """Bytes that the cache of pictures will take, at most."""
    if config.cache == "pixels":
        return 3 * config.image_size**2 * len(training)
    if config.cache == "encoded":
        return sum(sample.path.stat().st_size for sample in training.images if sample.path.is_file())
    return 0
