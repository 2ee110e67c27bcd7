"""Train the demo's network on generated scenes.

yolov7-tiny-silu at half width, 7 classes, 320 pixels.

python benchmarks/scripts/train_scenes.py --steps 1500 --seed 0
python benchmarks/scripts/train_scenes.py --steps 1300 --seed 1 --weights benchmarks/weights/scenes.safetensors

Every step sees pictures that were never seen before (`edgeyolo.datasets.scenes`, seeds from TRAIN_SEEDS up),
so there is no augmentation and no epoch. Evaluation takes seeds below TRAIN_SEEDS. bf16 autocast, SGD as in the paper's
recipe.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from edgeyolo.datasets.scenes import CLASS_NAMES, make_scene
from edgeyolo.models.build import build
from edgeyolo.models.network import Network
from edgeyolo.models.scaling import scale_width
from edgeyolo.models.specs import get
from edgeyolo.models.weights import load, save
from edgeyolo.runtime.preprocess import letterbox
from edgeyolo.training.loss.loss import DetectionLoss

SIDE = 320
SHAPES = (
    (320, 320),
    (240, 320),
    (320, 220),
    (180, 320),
)  # height, width: bars above, below and beside occur too
TRAIN_SEEDS = 1_000_000
MOMENTUM, DECAY, NOMINAL_BATCH = 0.937, 5e-4, 64


class Scenes(Dataset[tuple[Tensor, Tensor]]):
    """Generated scenes as a data set.

    Item `index` is scene `first + index` as (image uint8 RGB (3, h, w), labels (n, 5): class, cx, cy, w, h in
    0..1).
    """

    def __init__(self, first: int, count: int) -> None:
        self._first, self._count = first, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        seed = self._first + index
        scene = make_scene(seed, SHAPES[seed % len(SHAPES)])
        image, box = letterbox(scene.image, (SIDE, SIDE))
        boxes = box.to_input(scene.boxes) / SIDE
        low, high = boxes[:, :2], boxes[:, 2:]
        labels = np.concatenate([scene.class_id[:, None], (low + high) / 2, high - low], axis=1)
        pixels = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
        return torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.float32))


def collate(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Images (n, 3, h, w) uint8 and labels (m, 6) with the image's number first."""
    numbered = [torch.cat([torch.full((len(each), 1), i), each], 1) for i, (_, each) in enumerate(samples)]
    return torch.stack([image for image, _ in samples]), torch.cat(numbered)


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Weights of convolutions decay; batch norms, biases and implicit vectors do not."""
    decaying = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]
    chosen = {id(p) for p in decaying}
    rest = [p for p in network.parameters() if id(p) not in chosen]
    return [{"params": decaying, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]


def rate(step: int, steps: int) -> float:
    """Warm up over the first twentieth, then a cosine down to a hundredth."""
    warm = min(1.0, (step + 1) / (0.05 * steps))
    return warm * (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, step: int) -> None:
    """Exponential moving average of all floating state."""
    keep = 0.999 * (1 - math.exp(-step / 200))
    for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)


def train(network: Network, batches: Iterator[tuple[Tensor, Tensor]], steps: int) -> Network:
    """Run `steps` steps and return the averaged network."""
    loss = DetectionLoss(network.anchors, network.strides, len(CLASS_NAMES), image_size=SIDE)
    optimizer = torch.optim.SGD(parameter_groups(network), lr=0.01, momentum=MOMENTUM, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps))
    average, start = deepcopy(network).eval(), time.time()
    for step in range(steps):
        images, labels = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            maps = network(images.to(memory_format=torch.channels_last).float() / 255)
        value = loss([each.float() for each in maps], labels)
        (value.total * NOMINAL_BATCH / len(images)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0 * NOMINAL_BATCH)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        follow(average, network, step + 1)
        if step % 50 == 0 or step == steps - 1:
            box, objectness, classes, total = value.items.tolist()
            print(f"step {step} box {box:.4f} obj {objectness:.4f} cls {classes:.4f} total {total:.4f} "
                  f"{time.time() - start:.0f} s", flush=True)  # fmt: skip
    return average


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--weights", type=Path, help="go on from these")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/weights/scenes.safetensors"))
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    spec = scale_width(get("yolov7-tiny-silu"), 0.5, name="scenes")
    network = load(options.weights).network if options.weights else build(spec, len(CLASS_NAMES), "training")
    network = network.to(memory_format=torch.channels_last).train()
    first = TRAIN_SEEDS * (options.seed + 1)
    loader = DataLoader(
        Scenes(first, options.steps * options.batch),
        options.batch,
        num_workers=options.workers,
        collate_fn=collate,
    )
    average = train(network, iter(loader), options.steps)
    facts: dict[str, object] = {
        "trained_on": "generated scenes",
        "steps": options.steps,
        "batch": options.batch,
        "seed": options.seed,
    }
    if options.weights:
        facts["weights_before"] = load(options.weights).provenance
    save(options.output, average, CLASS_NAMES, facts, half=True)


if __name__ == "__main__":
    main()
