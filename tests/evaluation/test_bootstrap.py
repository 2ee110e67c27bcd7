"""The bootstrap counts as COCO does, and its intervals mean something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeyolo.datasets import Dataset, load_dataset
from edgeyolo.datasets.scenes import write_dataset
from edgeyolo.errors import UsageError
from edgeyolo.evaluation.ap import coco_ap
from edgeyolo.evaluation.bootstrap import _Side, ap_difference
from edgeyolo.evaluation.predictions import Predictions

IMAGES = 30


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(write_dataset(tmp_path_factory.mktemp("scenes"), range(IMAGES), (96, 96)))


def guess(dataset: Dataset, noise: float, seed: int) -> Predictions:
    """The objects, moved by `noise` pixels, with false ones among them."""
    rng, rows = np.random.default_rng(seed), []
    for sample in dataset.images:
        xywh = np.repeat(sample.xywh, 2, axis=0) + rng.normal(0, noise, (2 * len(sample.xywh), 4))
        xywh[:, 2:] = np.maximum(xywh[:, 2:], 2)
        boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        rows.append((boxes, rng.uniform(0, 1, len(boxes)), np.repeat(sample.class_id, 2)))
    return Predictions.from_images([sample.image_id for sample in dataset.images], rows)


def repeated(dataset: Dataset, found: Predictions, times: np.ndarray) -> tuple[Dataset, Predictions]:
    """The data set that a draw stands for, written out image by image."""
    from dataclasses import replace

    samples, parts = [], []
    for index, count in enumerate(times.astype(int)):
        rows = found.image_id == dataset.images[index].image_id
        boxes = np.concatenate([found.xywh[rows, :2], found.xywh[rows, :2] + found.xywh[rows, 2:]], axis=1)
        for _ in range(count):
            samples.append(replace(dataset.images[index], image_id=len(samples) + 1))
            parts.append((boxes, found.score[rows], found.class_id[rows]))
    ids = [sample.image_id for sample in samples]
    return replace(dataset, images=tuple(samples)), Predictions.from_images(ids, parts)


@pytest.mark.parametrize("seed", range(3))
def test_without_drawing_it_is_cocos_ap(dataset: Dataset, seed: int) -> None:
    found = guess(dataset, 2.0, seed)
    expected = coco_ap(dataset, found).metrics["AP"]
    assert _Side.of(dataset, found).ap(np.ones(IMAGES)) == pytest.approx(expected, abs=1e-9)


def test_a_draw_is_the_data_set_with_images_repeated(dataset: Dataset) -> None:
    found = guess(dataset, 2.0, 7)
    times = np.random.default_rng(1).multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES)).astype(float)
    expected = coco_ap(*repeated(dataset, found, times)).metrics["AP"]
    assert _Side.of(dataset, found).ap(times) == pytest.approx(expected, abs=2e-3)  # ties fall otherwise


def test_the_same_detections_differ_by_nothing(dataset: Dataset) -> None:
    found = guess(dataset, 2.0, 0)
    same = ap_difference(dataset, found, found, resamples=50)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_a_real_difference_lies_above_nothing(dataset: Dataset) -> None:
    lost = ap_difference(dataset, guess(dataset, 0.5, 0), guess(dataset, 4.0, 1), resamples=200)
    assert 0 < lost.low < lost.value < lost.high


def test_pairing_makes_the_interval_narrower(dataset: Dataset) -> None:
    one, other = guess(dataset, 1.0, 0), guess(dataset, 1.0, 0)
    moved = Predictions(other.image_id, other.class_id, other.xywh + 0.2, other.score)
    paired = ap_difference(dataset, one, moved, resamples=200)
    alone = ap_difference(dataset, one, guess(dataset, 1.0, 5), resamples=200)
    assert paired.high - paired.low < alone.high - alone.low


def test_no_images_is_an_error(dataset: Dataset, tmp_path: Path) -> None:
    from dataclasses import replace

    none = replace(dataset, images=())
    with pytest.raises(UsageError, match="no images"):
        ap_difference(none, guess(none, 1.0, 0), guess(none, 1.0, 0))
