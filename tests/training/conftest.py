"""Golden losses, and random head maps with labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgeyolo.training.loss.loss import DetectionLoss, LossConfig  # noqa: E402
from edgeyolo.training.loss.strategy import COARSE_TO_FINE, SIMPLE  # noqa: E402

torch.set_num_threads(1)  # small tensors; and two threads on a busy core wait for each other

ANCHORS = (
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)
STRIDES = (8, 16, 32)


@dataclass
class GoldenLoss:
    """One file of published numbers, as this project's values."""

    data: dict[str, Any]
    loss: DetectionLoss
    maps: list[Any]
    targets: Any

    @property
    def levels(self) -> int:
        return len(self.data["strides"])


@pytest.fixture(params=["ota_p5", "ota_p5_crowded", "ota_p5_one_class", "aux_ota_p6", "simple_p5"])
def golden_loss(request: pytest.FixtureRequest, golden: Path) -> GoldenLoss:
    with np.load(golden / "losses" / f"{request.param}.npz") as file:
        data = {name: file[name] for name in file.files}
    heads = [data[f"head{i}"] for i in range(len([name for name in data if name.startswith("head")]))]
    maps = [torch.tensor(head).permute(0, 1, 4, 2, 3).flatten(1, 2).requires_grad_() for head in heads]
    config = LossConfig(strategy=SIMPLE if request.param.startswith("simple") else COARSE_TO_FINE)
    size = int(data["size"])
    loss = DetectionLoss(
        data["anchors_px"].tolist(), data["strides"].tolist(), int(data["classes"]), config, image_size=size
    )
    return GoldenLoss(data, loss, maps, torch.tensor(data["targets"]))


Scene = tuple[list[Any], Any]


@pytest.fixture
def scene() -> Callable[..., Scene]:
    """Maker of (maps, targets): `counts[i]` targets in image i, of `heads` heads of three levels."""

    def make(counts: list[int], *, classes: int = 4, size: int = 128, heads: int = 1, seed: int = 0) -> Scene:
        generator = torch.Generator().manual_seed(seed)
        maps = []
        for stride in STRIDES * heads:
            shape = (len(counts), 3 * (5 + classes), size // stride, size // stride)
            maps.append(torch.randn(shape, generator=generator).requires_grad_())
        n = sum(counts)
        image = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        label = torch.randint(0, classes, (n,), generator=generator)
        centre = torch.rand(n, 2, generator=generator)
        side = torch.exp(torch.rand(n, 2, generator=generator) * 3 - 3.2)
        rows = torch.cat([image[:, None].float(), label[:, None].float(), centre, side], 1)
        return maps, rows[torch.randperm(n, generator=generator)]

    return make


@pytest.fixture
def make_loss() -> Callable[..., DetectionLoss]:
    def make(classes: int = 4, size: int = 128, **options: Any) -> DetectionLoss:
        return DetectionLoss(ANCHORS, STRIDES, classes, LossConfig(**options), image_size=size)

    return make
