"""The loss on validation pictures.

Where it rises while that of training falls, a run learns by heart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from edgeyolo.datasets import Dataset
from edgeyolo.training.config import TrainConfig
from edgeyolo.training.data.augment import Augmenter
from edgeyolo.training.data.batches import Item, collate
from edgeyolo.training.data.pictures import PictureStore
from edgeyolo.training.loop.session import autocast
from edgeyolo.training.loop.technique import Trainable
from edgeyolo.training.loss.loss import DetectionLoss
from edgeyolo.training.recipe import Recipe

MOST_PICTURES = 500
"""More would cost time and say the same; of more, so many are taken at equal distances."""

_STILL: dict[str, Any] = dict.fromkeys(
    ("hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr",
     "mosaic", "mixup", "copy_paste", "paste_in"), 0.0,
)  # fmt: skip


def validation_loss(
    network: Trainable, loss: DetectionLoss, dataset: Dataset, recipe: Recipe, config: TrainConfig
) -> dict[str, float]:
    """Box, objectness and class loss per picture, of pictures as they are.

    Args:
        network: in inference mode; its auxiliary heads count as in training.
        loss: of the run; it is not changed.
        dataset: pictures and boxes; damaged pictures are passed over.
        recipe, config: of the run.

    Returns:
        `val_box`, `val_obj` and `val_cls`, in the units of the columns `box`, `obj` and `cls`.
    """
    judge = DetectionLoss(
        network.anchors, network.strides, network.classes, loss.config, image_size=config.image_size
    ).to(config.device)
    judge.balance.copy_(loss.balance)
    judge.eval()
    store = PictureStore(dataset, cache="none", size=config.image_size)
    augment = Augmenter(replace(recipe, **_STILL), config.image_size, store)
    count = min(len(dataset), MOST_PICTURES)
    chosen = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    sums = torch.zeros(4)
    for first in range(0, count, config.batch_size):
        numbers = [int(number) for number in chosen[first : first + config.batch_size]]
        batch = collate([Item(augment(number, np.random.default_rng(0)), number) for number in numbers])
        images = batch.images.to(config.device).float().div_(255)
        with torch.inference_mode(), autocast(config.device, config.precision):
            value = judge(network(images), batch.targets)
        sums += value.items.float().cpu() * len(numbers)
    return dict(zip(("val_box", "val_obj", "val_cls"), (sums[:3] / count).tolist(), strict=True))
