"""The loss of validation is that of training, of pictures as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from edgeyolo.datasets import load_dataset  # noqa: E402
from edgeyolo.datasets.scenes import write_dataset  # noqa: E402
from edgeyolo.models import weights  # noqa: E402
from edgeyolo.training.config import TrainConfig  # noqa: E402
from edgeyolo.training.loop import validation_loss as module  # noqa: E402
from edgeyolo.training.loop.step import loss_config  # noqa: E402
from edgeyolo.training.loop.validation_loss import validation_loss  # noqa: E402
from edgeyolo.training.loss.loss import DetectionLoss  # noqa: E402
from edgeyolo.training.recipe import TINY  # noqa: E402


def measure(small_weights: Path, folder: Path, batch: int) -> dict[str, float]:
    dataset = load_dataset(write_dataset(folder, range(5), (64, 64)))
    torch.manual_seed(0)
    from edgeyolo.models.build import build

    network = build(weights.load(small_weights).network.spec, len(dataset.class_names)).eval()
    loss = DetectionLoss(network.anchors, network.strides, network.classes, loss_config(TINY), image_size=64)
    before = loss.balance.clone()
    found = validation_loss(network, loss, dataset, TINY, TrainConfig(batch_size=batch, image_size=64))
    assert torch.equal(loss.balance, before)
    return found


def test_it_is_the_same_every_time_and_nearly_so_in_batches(small_weights: Path, tmp_path: Path) -> None:
    one = measure(small_weights, tmp_path, 5)
    assert one == measure(small_weights, tmp_path, 5)
    assert set(one) == {"val_box", "val_obj", "val_cls"}
    split = measure(small_weights, tmp_path, 3)
    assert split["val_obj"] == pytest.approx(one["val_obj"], rel=0.05)


def test_a_small_share_of_many_pictures_is_enough(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure(small_weights, tmp_path, 4)
    monkeypatch.setattr(module, "MOST_PICTURES", 2)
    some = measure(small_weights, tmp_path, 4)
    assert some != whole and some["val_obj"] == pytest.approx(whole["val_obj"], rel=0.5)
