"""One training iteration.

Images in, gradients, and every so often an optimiser step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from edgeyolo.errors import EdgeYoloError
from edgeyolo.training.config import TrainConfig
from edgeyolo.training.data.batches import Batch
from edgeyolo.training.loop.compiled import CompiledForward
from edgeyolo.training.loop.ema import Ema
from edgeyolo.training.loop.optimizer import freeze, hold_frozen_norms, make_optimizer, set_rates
from edgeyolo.training.loop.processes import Processes, synchronize_norms
from edgeyolo.training.loop.schedule import Schedule
from edgeyolo.training.loop.session import autocast
from edgeyolo.training.loop.state import Parts, Position
from edgeyolo.training.loop.technique import Maps, Trainable
from edgeyolo.training.loss.loss import DetectionLoss, LossConfig
from edgeyolo.training.loss.strategy import find_strategy
from edgeyolo.training.recipe import Recipe

_MULTI_SCALE = 1  # keeps its chance apart from that of the pictures


def loss_config(recipe: Recipe) -> LossConfig:
    """The part of a recipe that the loss needs."""
    return LossConfig(
        box=recipe.box,
        cls=recipe.cls,
        obj=recipe.obj,
        cls_pw=recipe.cls_pw,
        obj_pw=recipe.obj_pw,
        anchor_t=recipe.anchor_t,
        label_smoothing=recipe.label_smoothing,
        focal_gamma=recipe.fl_gamma,
        auxiliary=recipe.auxiliary,
        autobalance=recipe.autobalance,
        strategy=find_strategy(recipe.strategy),
    )


class Stepper:
    """Everything that an iteration changes. `parts` is what a saved state holds."""

    def __init__(
        self,
        network: Trainable,
        recipe: Recipe,
        config: TrainConfig,
        schedule: Schedule,
        processes: Processes,
        *,
        penalty: Callable[[Tensor, Maps], Tensor] | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.config, self.schedule, self.processes, self.penalty = config, schedule, processes, penalty
        self.image_size = config.image_size
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.network = network.to(device=config.device, memory_format=layout).requires_grad_(True)  # type: ignore[call-overload]
        freeze(self.network, config.freeze)
        self.ema = Ema(self.network, decay=recipe.ema_decay, warmup=recipe.ema_warmup)
        if processes.count > 1:
            synchronize_norms(self.network)
        self.forward = CompiledForward(self.network, tell) if config.compile else self.network
        self.loss = DetectionLoss(
            network.anchors,
            network.strides,
            network.classes,
            loss_config(recipe),
            image_size=config.image_size,
        ).to(config.device)
        self.loss.mean_over_processes = processes.mean
        self.optimizer = make_optimizer(self.network, schedule)
        self.scaler = torch.amp.GradScaler(
            torch.device(config.device).type, enabled=config.precision == "fp16"
        )

    @property
    def parts(self) -> Parts:
        """Parts that have a state."""
        return Parts(self.network, self.ema.network, self.optimizer, self.loss, self.scaler)

    def train_mode(self, image_size: int) -> None:
        """Before an epoch's iterations, on pictures of `image_size` pixels."""
        self.image_size = image_size
        self.loss.suit(image_size)
        self.network.train()
        self.loss.train()
        hold_frozen_norms(self.network)

    def __call__(self, batch: Batch, position: Position) -> Tensor:
        """Learn from one batch.

        Returns box, objectness, class loss and their sum (4,), without waiting for them.
        """
        rates = self.schedule.at(position.iteration)
        set_rates(self.optimizer, rates)
        images = self._images(batch.images, position.iteration)
        with autocast(self.config.device, self.config.precision):
            maps = self.forward(images)
        value = self.loss(maps, batch.targets)
        total = value.total
        if self.penalty:
            total = total + len(images) * self.penalty(images, maps)
        self.scaler.scale(total).backward()
        if position.iteration + 1 - position.last_step >= rates.accumulate:
            self._step()
            position.last_step = position.iteration + 1
        return self.processes.mean(value.items)

    def _step(self) -> None:
        parameters = [value for value in self.network.parameters() if value.requires_grad]
        self.processes.sum_gradients(parameters)
        if self.config.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(parameters, self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.network)

    def _images(self, images: Tensor, iteration: int) -> Tensor:
        layout = torch.channels_last if self.config.channels_last else torch.contiguous_format
        moved = images.to(self.config.device, non_blocking=True).to(torch.float32, memory_format=layout)
        moved = moved.div_(255)
        if not self.config.multi_scale:
            return moved
        rng = np.random.default_rng([self.config.seed, _MULTI_SCALE, iteration])
        stride = max(self.network.strides)
        cells = round(self.image_size * rng.uniform(0.5, 1.5) / stride)
        size = max(cells, 1) * stride
        return interpolate(moved, size=(size, size), mode="bilinear", align_corners=False)


def explain_memory(error: RuntimeError, config: TrainConfig) -> EdgeYoloError | None:
    """An out-of-memory error in words, with a batch size to try.

    None for any other error.
    """
    lacking = isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
    if not lacking:
        return None
    smaller = max(config.batch_size // 2, 1)
    try_ = f"--batch {smaller}" if smaller < config.batch_size else f"--imgsz {config.image_size // 64 * 32}"
    return EdgeYoloError(
        f"out of memory with batch {config.batch_size} at {config.image_size} pixels on {config.device}",
        hint=f"Try {try_}: gradients are accumulated to the nominal batch, so the result is about the same.",
    )
