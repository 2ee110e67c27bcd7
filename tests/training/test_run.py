"""`train` and `resume` from the outside, and what they show."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rich.console import Console  # noqa: E402

from edgeyolo.datasets import Dataset, Problem, Sample  # noqa: E402
from edgeyolo.errors import UsageError  # noqa: E402
from edgeyolo.models import specs, weights  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.scaling import scale_width  # noqa: E402
from edgeyolo.training.config import TrainConfig  # noqa: E402
from edgeyolo.training.data.batches import Batch  # noqa: E402
from edgeyolo.training.loop.listener import Listener, Listeners, TensorBoardListener  # noqa: E402
from edgeyolo.training.loop.schedule import Schedule  # noqa: E402
from edgeyolo.training.loop.state import Position  # noqa: E402
from edgeyolo.training.recipe import SHORT, TINY, Recipe  # noqa: E402
from edgeyolo.training.report.pages import PageListener, draw_batch, draw_labels  # noqa: E402
from edgeyolo.training.report.progress import ProgressListener  # noqa: E402
from edgeyolo.training.run import advice_from_scratch, prepare_network, resume, starting_size, train  # noqa: E402

CONFIG = TrainConfig(epochs=1, batch_size=2, image_size=32)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    samples = []
    for number in range(2):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), np.full((40, 40, 3), 80 * number, np.uint8))
        rows, no = np.array([[4.0, 6.0, 20.0, 24.0]]), np.zeros(1, bool)
        samples.append(Sample(path, number, np.array([number]), rows, no, no, declared_size=(40, 40)))
    return Dataset("two", "coco", tmp_path / "two.json", ("cat", "dog"), (1, 2), tuple(samples))


def test_from_a_name_then_from_its_weights(data: Dataset, tmp_path: Path) -> None:
    shown = io.StringIO()
    progress = ProgressListener(Console(file=shown, width=120))
    listeners = Listeners([progress, PageListener(tmp_path / "run", data.class_names)])
    history = train("yolov7-tiny", data, data, tmp_path / "run", config=CONFIG, listener=listeners)
    assert len(history) == 1
    assert "the anchors suit 100.0% of the objects" in shown.getvalue()
    assert "epoch 1/1  box" in shown.getvalue()
    assert "steps of SGD are few" in shown.getvalue()
    for name in ("train_batch0.jpg", "val_batch.jpg", "results.png", "labels.png"):
        assert cv2.imread(str(tmp_path / "run" / name)) is not None, name
    with pytest.raises(UsageError, match="holds a run already"):
        train("yolov7-tiny", data, None, tmp_path / "run", config=CONFIG)
    assert len(resume(tmp_path / "run", data, data)) == 1  # finished: nothing is left to do
    renamed = replace(data, class_names=("dog", "bird"))
    start = prepare_network(
        tmp_path / "run" / "weights" / "last.safetensors", renamed.class_names, renamed, 32
    )
    assert start.notes[1] == "output channels of 1 classes taken by name"
    trained = weights.load(tmp_path / "run" / "weights" / "last.safetensors").network
    assert torch.equal(start.network.stem[0].branch.conv.weight, trained.stem[0].branch.conv.weight)


@pytest.mark.parametrize(
    "recipe, epochs, batches, told",
    [
        (TINY, 300, 13, "975 steps of SGD are few"),  # 205 pictures, batch 16
        (TINY, 300, 39, "2925 steps of SGD are few"),
        (TINY, 300, 40, ""),
        (SHORT, 100, 13, ""),
    ],
)
def test_runs_too_short_for_sgd_are_told(recipe: Recipe, epochs: int, batches: int, told: str) -> None:
    advice = advice_from_scratch(Schedule(recipe, epochs, batches, batch_size=16))
    assert advice.startswith(told) and bool(advice) == bool(told)


def test_resume_refuses_other_classes(data: Dataset, tmp_path: Path) -> None:
    train("yolov7-tiny", data, None, tmp_path / "run", config=CONFIG)
    with pytest.raises(UsageError, match="the run's classes are cat, dog"):
        resume(tmp_path / "run", replace(data, class_names=("a", "b")), None)


def test_unknown_model(data: Dataset) -> None:
    with pytest.raises(UsageError, match="neither a network's name nor a weights file"):
        prepare_network("yolov8", data.class_names, data, 64)


def test_anchors_that_do_not_suit_are_replaced(data: Dataset) -> None:
    flat_boxes = [replace(s, rows=np.array([[0.0, 10.0, 39.0, 2.5]])) for s in data.images]
    odd = replace(data, images=tuple(flat_boxes))
    start = prepare_network("yolov7-tiny", odd.class_names, odd, 640)
    assert start.notes[-1] == "new anchors suit 100.0%"
    assert start.network.anchors != build("yolov7-tiny", 2).anchors
    kept = prepare_network("yolov7-tiny", odd.class_names, odd, 640, autoanchor=False)
    assert kept.network.anchors == build("yolov7-tiny", 2).anchors


def test_same_seed_same_network(data: Dataset) -> None:
    one, two = (prepare_network("yolov7-tiny", data.class_names, data, 32, seed=5).network for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_pages(data: Dataset, tmp_path: Path) -> None:
    draw_labels(tmp_path / "labels.png", data)
    assert cv2.imread(str(tmp_path / "labels.png")).shape[1] > 1000
    images = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    batch = Batch(images, torch.tensor([[1, 0, 0.5, 0.5, 0.5, 0.5]]), (0, 1, 2))
    draw_batch(tmp_path / "batch.png", batch, data.class_names)
    sheet = cv2.imread(str(tmp_path / "batch.png"))
    assert sheet.shape == (64, 64, 3)
    assert sheet[8, 40:56].max() > 0 and sheet[:32, :32].max() == 0  # the box is on the second picture
    assert sheet[40:, 40:].min() == 255  # the fourth place is empty


def test_progress_shows_problems_and_time_left() -> None:
    shown = io.StringIO()
    progress = ProgressListener(Console(file=shown, width=120))
    schedule: Any = type("S", (), {"batches": 10})
    progress.start(replace(CONFIG, epochs=5), schedule, Position(iteration=10, epoch=1, seconds=60))
    progress.problem(Problem("damaged image", "a[b].jpg"))
    row = {"epoch": 1, "box": 0.1, "obj": 0.2, "cls": 0.3, "AP": 0.5, "AP50": 0.7}
    progress.epoch(row, Position(iteration=20, seconds=60 + 1300, best_epoch=1))
    progress.close()
    assert "going on at epoch 1" in shown.getvalue()
    assert "skipped: damaged image: a[b].jpg" in shown.getvalue()
    assert "AP 0.5000  AP50 0.7000  best  1 h 05 min left" in shown.getvalue()


@pytest.mark.parametrize(("first_size", "left"), [(0, "10 min left"), (32, "19 min left")])
def test_growing_pictures_take_longer_at_the_end(first_size: int, left: str) -> None:
    """Half the iterations in ten minutes; from 32 to 64 pixels they are a third of the work."""
    shown = io.StringIO()
    progress = ProgressListener(Console(file=shown, width=120))
    schedule: Any = type("S", (), {"batches": 10})
    progress.start(replace(CONFIG, epochs=4, image_size=64, first_size=first_size), schedule, Position())
    row = {"epoch": 1, "box": 0.1, "obj": 0.2, "cls": 0.3}
    progress.epoch(row, Position(iteration=20, seconds=600))
    progress.close()
    assert left in shown.getvalue()


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    listener: Listener = TensorBoardListener(tmp_path, every=1)
    listener.iteration(Position(iteration=3), [1, 2, 3, 6])
    listener.epoch({"epoch": 0, "loss": 6.0, "AP": 0.5}, Position())
    listener.end(Position())
    assert any(path.stat().st_size > 100 for path in tmp_path.iterdir())


def test_training_goes_on_at_the_size_of_its_weights(tmp_path: Path) -> None:
    network = build(scale_width(specs.get("yolov7-tiny"), 1 / 16), 2)
    for size, side, words in (
        ((96, 96), 96, "pictures of 96 pixels, as w.safetensors was trained at"),
        ((64, 96), 96, "pictures of 96 pixels"),
        (None, 640, "does not say what size it was trained at: 640 is a guess"),
    ):
        weights.save(tmp_path / "w.safetensors", network, ("cat", "dog"), {}, size=size)
        found, said = starting_size(tmp_path / "w.safetensors")
        assert found == side
        assert words in said
        assert "--imgsz" in said
    with pytest.raises(UsageError, match="neither a network's name nor a weights file"):
        starting_size(tmp_path / "nothing.pt")


@pytest.mark.parametrize("words", [[], ["--qat"], ["--imgsz", "128"]])
def test_the_command_takes_that_size_where_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    from click.testing import CliRunner

    from edgeyolo.cli import cli
    from edgeyolo.datasets.scenes import write_dataset

    network = build(scale_width(specs.get("yolov7-tiny"), 1 / 16), 20)
    weights.save(tmp_path / "w.safetensors", network, tuple(map(str, range(20))), {}, size=(96, 96))
    data = write_dataset(tmp_path / "scenes", range(2), (96, 96))
    taken: list[TrainConfig] = []

    def begin(*_: Any, config: TrainConfig, **__: Any) -> list[dict[str, Any]]:
        taken.append(config)
        return [{"epoch": 0, "AP": None}]

    monkeypatch.setattr("edgeyolo.training.run.train", begin)
    monkeypatch.setattr("edgeyolo.training.quantized.train_quantized", begin)
    options = ["--data", str(data), "-o", str(tmp_path / "out"), *words]
    done = CliRunner().invoke(cli, ["train", str(tmp_path / "w.safetensors"), *options])
    assert done.exit_code == 0, done.exception
    assert taken[0].image_size == (128 if "--imgsz" in words else 96)
    assert ("as w.safetensors was trained at" in done.stderr) == ("--imgsz" not in words)
