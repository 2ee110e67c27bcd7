"""The training loop.

Epochs of iterations, validation, the best and the last weights, and a state to go on from.

Chance comes from (seed, epoch, position) and (seed, iteration) only, so a state is the weights, their
averages and momenta, and a position: on a CPU a run that was killed anywhere and resumed ends with the same
bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeyolo.datasets import Dataset
from edgeyolo.errors import NotFiniteError, UsageError
from edgeyolo.evaluation.result import ValidationResult
from edgeyolo.evaluation.validate import validate
from edgeyolo.models import weights
from edgeyolo.runtime.pipeline import Pipeline
from edgeyolo.support.files import require_room
from edgeyolo.support.locks import hold
from edgeyolo.training.config import TrainConfig
from edgeyolo.training.data.augment import load_albumentations
from edgeyolo.training.data.batches import AugmentedSet, EpochBatches, make_loader
from edgeyolo.training.data.chances import class_aware, class_counts, prefer_weak
from edgeyolo.training.data.marks import changed_data, mark_data
from edgeyolo.training.data.phases import Phases
from edgeyolo.training.data.pictures import PictureStore
from edgeyolo.training.loop.history import fitness, write_csv
from edgeyolo.training.loop.interrupts import Interrupts
from edgeyolo.training.loop.listener import Listener
from edgeyolo.training.loop.processes import Processes
from edgeyolo.training.loop.schedule import Schedule, makes_a_step
from edgeyolo.training.loop.session import make_pipeline
from edgeyolo.training.loop.state import Position, read_facts, restore_state, save_state
from edgeyolo.training.loop.step import Stepper, explain_memory
from edgeyolo.training.loop.technique import ORDINARY, Technique, Trainable
from edgeyolo.training.loop.validation_loss import validation_loss
from edgeyolo.training.recipe import Recipe

OCCUPIED = "Resume it, or choose another folder for a new one."
STATE, TABLE = "state.safetensors", "results.csv"
LAST, BEST = "weights/last.safetensors", "weights/best.safetensors"

_AGREE_EVERY = 20  # iterations
_DIVERGED = "Lower lr0 (--set lr0=...), or train in fp32 or bf16."
_MOMENTA = {"sgd": 1, "adamw": 2}  # tensors that the optimiser keeps for each of the network's
LOCK = ".running"
"""The file that a run keeps locked while it writes into its folder."""


class Trainer:
    """A run that writes into `folder`.

    weights/best.safetensors and last, state.safetensors, results.csv.
    """

    def __init__(
        self,
        network: Trainable,
        class_names: tuple[str, ...],
        training: Dataset,
        validation: Dataset | None,
        *,
        recipe: Recipe,
        config: TrainConfig,
        folder: Path,
        processes: Processes | None = None,
        listener: Listener | None = None,
        technique: Technique = ORDINARY,
    ) -> None:
        self.class_names, self.training, self.validation = class_names, training, validation
        self.recipe, self.config, self.folder = recipe, config, folder
        self.phases = Phases(
            replace(recipe, mosaic=0.0) if config.rect_train else recipe,
            config.epochs,
            config.image_size,
            config.first_size or config.image_size,
            max(network.strides),
        )
        self.processes, self.listener = processes or Processes(), listener or Listener()
        self.batches = EpochBatches(
            len(training),
            config.batch_size,
            config.seed,
            rank=self.processes.rank,
            processes=self.processes.count,
        )
        self.schedule = Schedule(recipe, config.epochs, len(self.batches), config.batch_size)
        self.judged: ValidationResult | None = None
        self.marks = mark_data(training, validation)
        self.technique = technique
        self.step = Stepper(
            network,
            recipe,
            config,
            self.schedule,
            self.processes,
            penalty=technique.penalty,
            tell=self.listener.note,
        )
        self.extra = load_albumentations(config.albumentations) if config.albumentations else None
        self.position = Position()
        self._reported: set[str] = set()
        self._unread: list[Tensor] = []
        self._read_every = 1 if config.device == "cpu" else _AGREE_EVERY

    def resume(self) -> None:
        """Go on from the state in the folder.

        Says where the data is no longer that of the run.
        """
        self.position = restore_state(self.folder / STATE, self.step.parts)
        self.step.ema.updates = self.position.updates
        facts = read_facts(self.folder / STATE)
        known = facts.get("processes")
        self._share_gradients(known if isinstance(known, int) and known > 0 else self.processes.count)
        before = facts.get("marks")
        for sentence in changed_data(before, self.marks) if isinstance(before, dict) else ():
            self.listener.note(sentence)
        position, batches = self.position, len(self.batches)
        if position.iteration != position.epoch * batches + position.batch:
            # Another number of images makes epochs of another length: the one that was begun begins anew.
            position.batch, position.sums = 0, [0.0] * 4
            position.iteration = position.last_step = position.epoch * batches

    def _share_gradients(self, before: int) -> None:
        """Scale the waiting gradients of a run of `before` processes.

        Each of them had that part of their sum.
        """
        if before != self.processes.count:
            for value in self.step.network.parameters():
                if value.grad is not None:
                    value.grad *= before / self.processes.count

    @property
    def ended(self) -> str:
        """Reason why the run goes no further; "" for one that does."""
        if self.position.epoch >= self.config.epochs:
            return f"all of its {self.config.epochs} epochs are done"
        if self._out_of_patience():
            return f"AP did not grow for {self.config.patience} epochs"
        return ""

    def run(self) -> list[dict[str, Any]]:
        """Train to the end; returns the table of epochs.

        Ctrl-C saves the state after the current iteration, then raises KeyboardInterrupt. A run that has ended
        already gives its table again.

        Raises:
            UsageError: another run is in the folder, or another process is training there.
        """
        if self.ended and self.position.history:
            return self.position.history
        with self._alone():
            if self.processes.leads:
                require_room(self.folder, self.room)
            return self._run()

    @property
    def room(self) -> int:
        """Bytes that the run keeps on disk at most, about.

        State (network, average, momenta) and weights, and the new one of each beside the old while it is written.
        """
        learned: int = 4 * sum(value.numel() for value in self.step.network.parameters())
        state = learned * (2 + _MOMENTA[self.recipe.optimizer])
        held = sum(
            file.stat().st_size for file in map(self.folder.joinpath, (STATE, LAST, BEST)) if file.exists()
        )
        return max(2 * state + 3 * learned - held, state)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder against other processes for the block."""
        if not self.processes.leads:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = hold(self.folder / LOCK)
        if lock is None:
            raise UsageError(
                f"{self.folder}: another process is training there",
                hint="Choose another folder with -o, or wait for it to end.",
            )
        try:
            if not self.position.iteration and (self.folder / STATE).exists():  # made since this run looked
                raise UsageError(f"{self.folder} holds a run already", hint=OCCUPIED)
            yield
        finally:
            with suppress(OSError):  # Windows removes no open file
                (self.folder / LOCK).unlink()
            lock.release()

    def _run(self) -> list[dict[str, Any]]:
        """Train from where the run is."""
        store = PictureStore(self.training, cache=self.config.cache, size=self.config.image_size)
        if self.config.cache != "none":
            store.fill()
            self._report(store.news())
        if self.config.rect_train:
            self.batches.aspects = store.aspects()
        stride = max(self.step.network.strides)
        pictures = AugmentedSet(store, self.phases.at, self.config.seed, extra=self.extra, stride=stride)
        loader = make_loader(
            pictures,
            self.batches,
            workers=self.config.workers,
            pin=self.config.device.startswith("cuda"),
        )
        if not makes_a_step(self.schedule):
            self.listener.note("the run is too short for one optimiser step: nothing will be learned")
        with Interrupts() as interrupts:
            self.listener.start(self.config, self.schedule, self.position)
            while not self.ended:
                self._epoch(loader, interrupts)
            self.listener.end(self.position)
        return self.position.history

    def _epoch(self, loader: Any, interrupts: Interrupts) -> None:
        position, started, saved = self.position, time.monotonic(), time.monotonic()
        self.step.train_mode(self.phases.at(position.epoch).image_size)
        self.batches.weights = self._chances()
        self.batches.begin(position.epoch, position.batch)
        before = position.seconds
        for batch in loader:
            self._report(batch.problems)
            self.listener.batch(batch, position)
            try:
                items = self.step(batch, position)
            except RuntimeError as error:
                if (explained := explain_memory(error, self.config)) is not None:
                    raise explained from error
                raise
            position.batch += 1
            position.iteration += 1
            position.updates = self.step.ema.updates
            position.seconds = before + time.monotonic() - started
            # Reading a loss waits for the GPU, so losses are read in bundles, and before anything is saved.
            self._unread.append(items)
            stop, due = self._asked(
                interrupts.wanted, time.monotonic() - saved > 60 * self.config.save_minutes
            )
            if stop or due or len(self._unread) >= self._read_every:
                self._read_losses()
            if stop or due:
                self.save()
                saved = time.monotonic()
            if stop:
                raise KeyboardInterrupt
        self._read_losses()
        self._finish_epoch(started, before)

    def _asked(self, stop: bool, due: bool) -> list[bool]:
        """Decide whether to stop and whether to save.

        The processes agree on it, and only every so often.
        """
        if self.processes.count > 1 and self.position.iteration % _AGREE_EVERY:
            return [False, False]
        return self.processes.any_of(stop, due)

    def _read_losses(self) -> None:
        """Take the losses of the last iterations from the device at once.

        Reading each makes the host wait.
        """
        for items in torch.stack(self._unread).tolist() if self._unread else ():
            self.position.sums = [a + b for a, b in zip(self.position.sums, items, strict=True)]
            self.listener.iteration(self.position, items)
        self._unread = []
        if not math.isfinite(self.position.sums[-1]):
            raise self._diverged(f"the loss became {self.position.sums[-1]}")

    def _finish_epoch(self, started: float, before: float) -> None:
        position = self.position
        row: dict[str, Any] = {"epoch": position.epoch, "lr": self.schedule.at(position.iteration - 1).lr}
        names = ("box", "obj", "cls", "loss")
        row |= {name: value / position.batch for name, value in zip(names, position.sums, strict=True)}
        position.epoch, position.batch, position.sums = position.epoch + 1, 0, [0.0] * 4
        better = False
        if self.validation is not None and (self.ended or position.epoch % self.config.validate_every == 0):
            row |= self._validate()
            better = fitness(row) > position.best
            if better:
                position.best, position.best_epoch = fitness(row), position.epoch - 1
        position.seconds = before + time.monotonic() - started
        position.history.append({**row, "seconds": round(position.seconds, 3)})
        if self.processes.leads:
            self._write(better or self.validation is None)
        self.listener.epoch(position.history[-1], position)
        self.save()

    def _validate(self) -> dict[str, float]:
        """AP, AP50 and losses of the average, for every process."""
        if not all(bool(value.isfinite().all()) for value in self.step.ema.network.state_dict().values()):
            raise self._diverged("the weights are no longer finite")
        result: tuple[dict[str, float], list[float]] | None = None
        if self.processes.leads and self.validation is not None:
            try:
                judged = validate(self.pipeline(), self.validation, rect=self.config.rect)
            except NotFiniteError as error:  # finite weights can be as good as infinite
                raise self._diverged("the network gives NaN") from error
            self.judged = judged
            numbers = {name: judged.metrics[name] or 0.0 for name in ("AP", "AP50")}
            numbers |= validation_loss(
                self.step.ema.network, self.step.loss, self.validation, self.recipe, self.config
            )
            result = numbers, [item.ap or 0.0 for item in judged.per_class]
        shared = self.processes.share(result)
        self.position.ap = shared[1]
        return dict(shared[0])

    def _write(self, better: bool) -> None:
        provenance = {
            "training": self.facts(),
            "epoch": self.position.epoch - 1,
            "fitness": self.position.best,
        }
        made = self.technique.publish(self.step.ema.network)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (LAST, BEST) if better else (LAST,):
            weights.save(
                self.folder / name, made.network, self.class_names, provenance, ranges=made.ranges,
                size=(self.config.image_size, self.config.image_size),
            )  # fmt: skip
        write_csv(self.folder / TABLE, self.position.history)

    def save(self) -> None:
        """Write the state now."""
        self.processes.settle_gradients(self.step.network.parameters())
        if self.processes.leads:
            save_state(self.folder / STATE, self.step.parts, self.position, self.facts())
        self.listener.saved(self.folder / STATE, self.position)

    def _diverged(self, what: str) -> NotFiniteError:
        """The error for numbers that are none.

        It names the state to go back to, if one was saved.
        """
        state = self.folder / STATE
        kept = (
            f" The last state before it is kept in {state}." if state.exists() else " No state was saved yet."
        )
        return NotFiniteError(f"{what} by iteration {self.position.iteration}", hint=_DIVERGED + kept)

    def pipeline(self) -> Pipeline:
        """The averaged network as it stands, ready to detect."""
        size, device, precision = self.config.image_size, self.config.device, self.config.precision
        return make_pipeline(self.step.ema.network, self.class_names, size, device, precision)

    def facts(self) -> dict[str, Any]:
        """Facts of the run as JSON."""
        return {
            "config": self.config.to_dict(),
            "recipe": self.recipe.to_dict(),
            "network": self.step.network.spec.to_json(),
            "class_names": list(self.class_names),
            "data": str(self.training.source),
            "marks": self.marks,
            "processes": self.processes.count,
        } | ({"technique": dict(self.technique.facts)} if self.technique.facts else {})

    def _out_of_patience(self) -> bool:
        waited = self.position.epoch - 1 - max(self.position.best_epoch, 0)
        return bool(self.config.patience) and waited >= self.config.patience

    def _chances(self) -> Any:
        """Chances of the pictures in this epoch; None to draw each once."""
        if self.config.class_aware:
            return class_aware(class_counts(self.training))
        if self.config.image_weights and self.position.ap is not None:
            return prefer_weak(class_counts(self.training), self.position.ap)
        return None

    def _report(self, problems: tuple[Any, ...]) -> None:
        """Tell of each damaged image once, whichever worker met it."""
        for problem in problems:
            if problem.where not in self._reported:
                self._reported.add(problem.where)
                self.listener.problem(problem)
