"""Trainings whose result is quoted somewhere: network, data and stages.

`train_recorded.py` runs and judges them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lite_backbone import FINE, put_limit, require_start

from edgeyolo.training.config import TrainConfig
from edgeyolo.training.devices import multiplies_bfloat16
from edgeyolo.training.recipe import SHORT, TINY, Recipe


@dataclass(frozen=True)
class Stage:
    """One run of the training loop.

    begin: makes the weights that it starts from, of those of the stage before and in the training's folder.
    """

    name: str
    config: TrainConfig
    recipe: Recipe
    begin: Callable[[Path, Path], Path] | None = None


@dataclass(frozen=True)
class Training:
    """Stages of a training.

    Each starts from the averaged weights of the one before. judged: split and pixels. origin: what the first starts
    from, in words.
    """

    name: str
    network: str
    learned: str
    judged: str
    size: int
    stages: tuple[Stage, ...]
    origin: str = "random weights"


_CPU = TrainConfig(precision="bf16" if multiplies_bfloat16() else "fp32", cache="pixels", validate_every=10)
# Small data: an optimiser step for every batch, a short warm-up, an average over some 500 steps.
_VOC = replace(
    TINY, nominal_batch=16, warmup_epochs=0.0, warmup_iterations=200, ema_decay=0.998, ema_warmup=200.0,
    cls=1.0, mosaic=0.5, mosaic9=0.0, mixup=0.0, paste_in=0.0,
)  # fmt: skip
_VOC_ADAM = replace(_VOC, optimizer="adamw", momentum=0.9, warmup_bias_lr=0.0, plain_epochs=2)
_VOC_CPU = replace(_CPU, batch_size=16, validate_every=4, clip=10.0)
# From the published weights, on one GPU, in a fixed time (on_gpu.py): steps of 128 pictures, so some nine thousand of
# them in 300 epochs, with a rate that grows with the root of the batch.
ON_GPU = Stage(
    "gpu",
    TrainConfig(
        epochs=300, batch_size=128, image_size=320, device="cuda:0", precision="bf16", workers=16, cache="pixels",
        clip=10.0, validate_every=50, compile=True,
    ),
    replace(_VOC_ADAM, lr0=0.0015, nominal_batch=128, mosaic=1.0, ema_decay=0.999, plain_epochs=20),
)  # fmt: skip
_FILTERS = tuple(
    f"backbone.{stage}.{link}.depthwise.branch.conv"
    for stage, links in ((4, 3), (5, 4))
    for link in range(links)
)
TRAININGS = {
    training.name: training
    for training in (
        Training("bccd", "yolov7-tiny", "train", "test", 256, (
            Stage(
                "whole",
                replace(_CPU, epochs=100, batch_size=8, image_size=256),
                replace(SHORT, flipud=0.5),
            ),
        )),
        # From the backbone that lite_backbone.py makes. Its finest maps, which cost most, stay as they are, and so do
        # the filters of 5x5: on a CPU the gradient of one's weights takes longer than all else of its inverted residual
        # (38 of some 50 ms for 672 channels at 20 x 20 cells, batch 16, bf16).
        Training("builtin", "efficientnet-lite0-pan", "train", "val", 320, (
            Stage(
                "neck",
                replace(
                    _VOC_CPU, epochs=8, image_size=256, first_size=192, workers=1, freeze=("stem", "backbone")
                ),
                replace(_VOC_ADAM, lr0=0.0015, lrf=0.2, weight_decay=0.05, ema_decay=0.995, plain_epochs=0),
                require_start,
            ),
            Stage(
                "whole",
                replace(_VOC_CPU, epochs=24, image_size=320, first_size=224, workers=1, freeze=FINE + _FILTERS),
                replace(
                    _VOC_ADAM, lr0=0.0003, weight_decay=0.05, ema_decay=0.9985, mosaic=0.7, plain_epochs=3
                ),
            ),
            Stage(
                "limit",
                replace(_VOC_CPU, epochs=4, image_size=320, workers=1, freeze=FINE + _FILTERS),
                replace(
                    _VOC_ADAM, lr0=0.00015, weight_decay=0.05, ema_decay=0.9985, mosaic=0.7, plain_epochs=2
                ),
                put_limit,
            ),
        ), "EfficientNet-Lite0's published weights (ImageNet) and a fresh neck"),
    )
}  # fmt: skip


def with_epochs(training: Training, epochs: int) -> Training:
    """The same with a last stage of another length.

    Its rates and sizes are spread over it.
    """
    *before, last = training.stages
    return replace(training, stages=(*before, replace(last, config=replace(last.config, epochs=epochs))))
