"""Default confidences of the built-in model: chosen so that precision holds on other images, and told by its card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import builtin_pictures
from builtin_confidence import (
    FLOOR,
    Found,
    choose,
    cross,
    measure,
    settle_confidence,
)
from publish_builtin import account

from edgeyolo.datasets import load_dataset
from edgeyolo.datasets.scenes import write_dataset
from edgeyolo.detector import builtin
from edgeyolo.models import weights
from edgeyolo.runtime.detections import Detections


def synthetic(sharpness: tuple[float, ...], images: int = 400, seed: int = 0) -> Found:
    """Detections of a class k that are right with probability score ** sharpness[k]."""
    rng = np.random.default_rng(seed)
    classes, n = len(sharpness), images * 6
    class_id, score = rng.integers(0, classes, n), rng.uniform(FLOOR, 1, n)
    hit = rng.random(n) < score ** np.array(sharpness)[class_id]
    objects = np.full((images, classes), 4)
    return Found(rng.integers(0, images, n), class_id, score, hit, objects)


def test_the_chosen_confidence_gives_the_precision_and_no_more() -> None:
    found = synthetic((0.5, 1.0, 3.0))
    chosen = choose(found, 0.7)
    assert chosen[0] < chosen[1] < chosen[2]  # the less a score is worth, the higher it has to be
    worth = measure(found, chosen)
    precision = worth.right / worth.detections
    assert np.all(precision > 0.66)
    lower = measure(found, chosen - 0.05)
    assert np.all((lower.right / lower.detections)[1:] < 0.7)


def test_a_class_of_few_detections_leans_on_the_others() -> None:
    found = synthetic((1.0, 1.0))
    rare = np.flatnonzero(found.class_id == 1)[3:]
    kept = np.setdiff1d(np.arange(len(found.score)), rare)
    few = Found(
        found.image[kept], found.class_id[kept], found.score[kept], np.ones(len(kept), bool), found.objects
    )
    few.hit[few.class_id == 0] = found.hit[kept][few.class_id == 0]
    common, lucky = choose(few, 0.7)
    assert abs(common - lucky) < 0.12  # three right detections of three do not make a confidence of nothing


def test_precision_holds_on_images_that_chose_nothing() -> None:
    found = synthetic((1.0,) * 10, images=200)
    choice = settle_confidence(found)
    assert choice.held_out.precision >= 0.7
    assert measure(found, choice.confidence).precision >= 0.7
    assert cross(found, 0.6).precision < 0.7
    assert choice.held_out.recall == pytest.approx(measure(found, choice.confidence).recall, abs=0.1)
    flat = measure(found, np.full(10, 0.25))
    assert flat.precision < 0.7
    assert flat.recall > choice.held_out.recall


def test_a_network_that_is_never_right_has_no_confidence() -> None:
    found = synthetic((1.0, 1.0))
    with pytest.raises(SystemExit, match=r"no confidence gives a precision of 0\.7"):
        settle_confidence(replace(found, hit=np.zeros_like(found.hit)))


def test_what_is_told_of_a_training_has_no_paths() -> None:
    loaded = weights.load(builtin.weights_path())
    training = {**loaded.provenance["training"], "data": "/home/someone/voc", "marks": {"training": {}}}
    told = account(replace(loaded, provenance={**loaded.provenance, "training": training}))
    assert told["training"]["data"] == "PASCAL VOC 2007 trainval"
    assert "marks" not in told["training"]
    assert told["float32_sha256"] == loaded.provenance["float32_sha256"]


class Blind:
    """A detector that finds nothing."""

    def __call__(self, image: np.ndarray) -> Detections:
        return Detections.empty(("a", "b", "c"), image.shape[:2])


def test_the_page_shows_labels_beside_detections(tmp_path: Path) -> None:
    dataset = load_dataset(write_dataset(tmp_path / "scenes", range(5), (96, 96)))
    page = builtin_pictures.make_page(Blind(), dataset, np.arange(5))  # type: ignore[arg-type]
    height, width = builtin_pictures.CELL
    gap = 12
    assert page.shape == (2 * (height + gap), 3 * (2 * width + gap), 3)
    left, right = page[6 : 6 + height, 6 : 6 + width], page[6 : 6 + height, 6 + width : 6 + 2 * width]
    assert not np.array_equal(left, right)  # boxes on one side only


def test_others_pictures_stay_out_of_the_repository(tmp_path: Path) -> None:
    builtin_pictures.require_private(tmp_path)
    builtin_pictures.require_private(builtin_pictures.ROOT / "runs/pictures")
    with pytest.raises(SystemExit, match="the pictures are others'"):
        builtin_pictures.require_private(builtin_pictures.ROOT / "benchmarks/pictures")
