"""Figures 5 and 8: what is drawn is what the loss and the heads say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import cv2  # noqa: E402
from click.testing import CliRunner  # noqa: E402

from edgeyolo.cli.ablate_command import command  # noqa: E402
from edgeyolo.datasets import Dataset, load_dataset  # noqa: E402
from edgeyolo.datasets.scenes import write_dataset  # noqa: E402
from edgeyolo.errors import UsageError  # noqa: E402
from edgeyolo.models import weights  # noqa: E402
from edgeyolo.models.network import Network  # noqa: E402
from edgeyolo.training.ablation.ablation_tables import find_figure  # noqa: E402
from edgeyolo.training.ablation.figures import (  # noqa: E402
    FIGURE_5,
    Picture,
    asked,
    draw_figure,
    load_picture,
    objectness,
)
from edgeyolo.training.loss.loss import DetectionLoss, LossConfig  # noqa: E402
from edgeyolo.training.loss.strategy import (  # noqa: E402
    BOUNDED,
    COARSE_TO_FINE,
    INDEPENDENT,
    LEAD_GUIDED,
    Strategy,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(write_dataset(tmp_path_factory.mktemp("scenes"), range(2), (128, 128)))


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return find_figure(5, "yolov7-tiny", width=0.125).variants[0].build(3).eval()


@pytest.fixture(scope="module")
def picture(data: Dataset) -> Picture:
    shown = load_picture(data.images[0], 128)
    return Picture(shown.pixels, shown.corners, shown.class_id % 3)


def test_what_is_trained_for_a_figure() -> None:
    assert [row.strategy for row in find_figure(8).variants] == [INDEPENDENT, LEAD_GUIDED, COARSE_TO_FINE]
    (row,) = find_figure(5).variants
    assert row.strategy is COARSE_TO_FINE and row.spec.aux and row.paper is None
    assert [find_figure(n).kind for n in (2, 5, 8)] == ["Figure"] * 3
    with pytest.raises(UsageError, match="expected 2, 5 or 8"):
        find_figure(7)


def test_objectness_is_the_highest_anchors(network: Network, picture: Picture) -> None:
    lead, auxiliary = objectness(network, picture)
    with torch.no_grad():
        maps = network(picture.tensor())
    for found, head in zip((*lead, *auxiliary), maps, strict=True):
        channels = [anchor * (5 + 3) + 4 for anchor in range(3)]
        wanted = head[0, channels].sigmoid().max(0).values.numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_cells_and_labels_of_the_strategies(network: Network, picture: Picture) -> None:
    with torch.no_grad():
        maps = network(picture.tensor())

    def taken(strategy: Strategy) -> tuple[list[Any], list[Any]]:
        found = asked(network, maps, picture, strategy)
        return found[: network.levels], found[network.levels :]

    def cells(head: list[Any]) -> set[tuple[int, int, int]]:
        return {(i, int(y), int(x)) for i, m in enumerate(head) for y, x in np.argwhere(~np.isnan(m))}

    fine, guided = taken(LEAD_GUIDED)
    assert cells(fine) and cells(fine) == cells(guided)
    lead, coarse = taken(COARSE_TO_FINE)
    assert cells(lead) == cells(fine) and len(cells(coarse)) > len(cells(fine))
    same, bounded = taken(BOUNDED)
    assert cells(bounded) == cells(coarse) and cells(same) == cells(fine)
    assert all(np.all(b[~np.isnan(b)] <= c[~np.isnan(c)]) for b, c in zip(bounded, coarse, strict=True))
    assert sum(np.nansum(b) for b in bounded) < sum(np.nansum(c) for c in coarse)
    _, own = taken(INDEPENDENT)
    assert cells(own) != cells(guided)


def test_labels_are_those_of_the_loss(network: Network, picture: Picture) -> None:
    """With these labels, and nothing but objectness in it, the loss is theirs."""
    with torch.no_grad():
        maps = network(picture.tensor())
    config = LossConfig(strategy=BOUNDED, box=0.0, cls=0.0, obj=1.0, auxiliary=1.0)
    loss = DetectionLoss(network.anchors, network.strides, 3, config, image_size=128)
    labels = loss.objectness_labels(maps, picture.targets())
    total = 0.0
    for number, (head, (label, taken)) in enumerate(zip(maps, labels, strict=True)):
        raw = head.view(1, 3, 8, *head.shape[2:])[:, :, 4]
        term = torch.nn.functional.binary_cross_entropy_with_logits(raw, label)
        total += float(term * loss.balance[number % 3] * loss.gains[1])
        assert taken.any() or not label.any()
    assert total == pytest.approx(float(loss(maps, picture.targets()).total), rel=1e-5)


@pytest.mark.parametrize("number", [5, 8])
def test_drawn(number: int, network: Network, data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "made" / "figure.png"
    shown = replace(data, images=tuple(replace(s, class_id=s.class_id % 3) for s in data.images))
    draw_figure(number, path, [("one", network)] * 2, shown, 128)
    image = cv2.imread(str(path))
    rows, columns = (1 + len(FIGURE_5), 2) if number == 5 else (2, 2 + 2 * 3)
    assert image.shape == (rows * (22 + 256 + 4), columns * (256 + 4), 3)
    assert len(np.unique(image.reshape(-1, 3)[::97], axis=0)) > 50


def test_what_cannot_be_drawn(network: Network, data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 0 to 1"):
        draw_figure(8, tmp_path / "f.png", [("one", network)], data, 128, picture=2)
    sample = data.images[0]
    empty = replace(
        sample,
        class_id=sample.class_id[:0],
        rows=sample.rows[:0],
        crowd=sample.crowd[:0],
        difficult=sample.difficult[:0],
    )
    with pytest.raises(UsageError, match="no objects to draw"):
        load_picture(empty, 128)
    alone = find_figure(2, "yolov7-tiny", width=0.125).variants[0].build(3)
    with pytest.raises(UsageError, match="no auxiliary heads to draw"):
        draw_figure(8, tmp_path / "f.png", [("one", alone)], data, 128)
    assert not list(tmp_path.iterdir())


def test_the_command_draws_weights_that_are_given(network: Network, tmp_path: Path) -> None:
    annotations = write_dataset(tmp_path / "scenes", range(2), (64, 64))
    classes = len(load_dataset(annotations).class_names)
    made = find_figure(5, "yolov7-tiny", width=0.125).variants[0].build(classes)
    weights.save(tmp_path / "w.safetensors", made, [f"c{i}" for i in range(classes)], {})
    options = ["--data", str(annotations), "--val-data", str(annotations), "--imgsz", "64"]
    given = ["--figure", "5", "--weights", str(tmp_path / "w.safetensors"), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(command, [*given, *options])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "figure5.png").stat().st_size > 1000
    for wrong in (["--table", "3", "--figure", "5"], [], ["--table", "3", "--picture", "1"]):
        failed = CliRunner().invoke(command, [*wrong, *options])
        assert isinstance(failed.exception, UsageError)
