"""The loop: it learns, it can be stopped anywhere and goes on bit by bit, and it says what is wrong."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgeyolo.datasets import Dataset, Sample  # noqa: E402
from edgeyolo.datasets.scenes import CLASS_NAMES, make_scene  # noqa: E402
from edgeyolo.errors import DamagedFileError, EdgeYoloError, UsageError  # noqa: E402
from edgeyolo.models import specs, weights  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.topology import Elan, ModelSpec, Stage, TopDown  # noqa: E402
from edgeyolo.training.config import TrainConfig, settings_of  # noqa: E402
from edgeyolo.training.data.batches import Batch  # noqa: E402
from edgeyolo.training.loop.history import draw_history  # noqa: E402
from edgeyolo.training.loop.listener import Listener, Listeners  # noqa: E402
from edgeyolo.training.loop.processes import Processes  # noqa: E402
from edgeyolo.training.loop.state import Position, read_facts  # noqa: E402
from edgeyolo.training.loop.technique import ORDINARY, Technique  # noqa: E402
from edgeyolo.training.loop.trainer import BEST, LAST, STATE, TABLE, Trainer  # noqa: E402
from edgeyolo.training.recipe import TINY, Recipe  # noqa: E402

SMALL = TrainConfig(epochs=3, batch_size=4, image_size=64, save_minutes=0, cache="pixels")
RECIPE = replace(TINY, nominal_batch=8, warmup_iterations=4, warmup_epochs=0)


def elan(out: int) -> Elan:
    return Elan(out // 2, out, depth=2, stride=1)


# yolov7-tiny's layout with an eighth of its widths: what is tested here does not depend on size.
NANO = ModelSpec(
    "yolov7-tiny",
    stem=((4, 2),),
    backbone=(
        Stage("conv", 8, elan(8)),
        Stage("pool", 8, elan(16)),
        Stage("pool", 16, elan(32)),
        Stage("pool", 32, elan(64)),
    ),
    spp=32,
    top_down=(TopDown(16, elan(16)), TopDown(8, elan(8))),
    bottom_up=(Stage("conv", 16, elan(16)), Stage("conv", 32, elan(32))),
    lead=(16, 32, 64),
    anchors=specs.get("yolov7-tiny").anchors,
    csp_spp=False,
    act="leaky_relu",
)


def write_scenes(folder: Path, count: int = 10) -> Dataset:
    samples = []
    for seed in range(count):
        scene = make_scene(seed, (96, 96))
        path = folder / f"{seed}.png"
        if not path.exists():
            cv2.imwrite(str(path), scene.image)
        rows = np.concatenate([scene.boxes[:, :2], scene.boxes[:, 2:] - scene.boxes[:, :2]], 1).astype(
            np.float64
        )
        no = np.zeros(len(rows), bool)
        samples.append(Sample(path, seed, scene.class_id, rows, no, no, declared_size=(96, 96)))
    ids = tuple(range(1, len(CLASS_NAMES) + 1))
    return Dataset("scenes", "coco", folder / "scenes.json", CLASS_NAMES, ids, tuple(samples))


def trainer(
    folder: Path,
    data: Dataset,
    *,
    listener: Listener | None = None,
    recipe: Recipe = RECIPE,
    processes: Processes | None = None,
    technique: Technique = ORDINARY,
    **options: Any,
) -> Trainer:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return Trainer(
        build(NANO, len(CLASS_NAMES)), CLASS_NAMES, data, None, recipe=recipe,
        config=replace(SMALL, **options), folder=folder, listener=listener, processes=processes,
        technique=technique,
    )  # fmt: skip


def tensors(path: Path) -> dict[str, Any]:
    return dict(weights.load(path).network.state_dict())


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = tensors(one), tensors(other)
    different = [key for key in first if not torch.equal(first[key], second[key])]
    assert different == []


class StopAt(Listener):
    """Fails like a crash in the middle of the run: after an iteration whose state was not yet saved."""

    def __init__(self, iteration: int) -> None:
        self.at = iteration

    def iteration(self, position: Position, items: list[float]) -> None:
        if position.iteration == self.at:
            raise ConnectionAbortedError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def whole(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    trainer(folder, data).run()
    return folder


def test_files_of_a_run(whole: Path) -> None:
    info = weights.read_info(whole / LAST)
    assert info.class_names == CLASS_NAMES
    assert info.provenance["training"]["recipe"]["lr0"] == 0.01
    assert info.provenance["epoch"] == 2
    rows = list(csv.DictReader((whole / TABLE).open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert all(float(row["loss"]) > 0 for row in rows)
    assert settings_of(read_facts(whole / STATE)) == (SMALL, RECIPE)


def test_settings_of_a_run_whose_configuration_names_the_optimizer(whole: Path) -> None:
    """States and weights were written so before optimisers were the recipe's."""
    facts = read_facts(whole / STATE)
    del facts["recipe"]["optimizer"]
    facts["config"]["optimizer"] = "adamw"
    assert settings_of(facts) == (SMALL, replace(RECIPE, optimizer="adamw"))


@pytest.mark.parametrize("iteration", [1, 4, 8])
def test_goes_on_bit_by_bit(iteration: int, whole: Path, data: Dataset, tmp_path: Path) -> None:
    """Stopped after the 2nd, 5th or 9th iteration: mid-epoch, with gradients waiting, at an epoch's end."""
    with pytest.raises(ConnectionAbortedError):
        trainer(tmp_path, data, listener=StopAt(iteration + 1)).run()
    again = trainer(tmp_path, data)
    again.resume()
    assert again.position.iteration == iteration
    history = again.run()
    assert_same_weights(tmp_path / LAST, whole / LAST)
    ours, theirs = ((folder / TABLE).read_text().splitlines() for folder in (tmp_path, whole))
    assert [line.rpartition(",")[0] for line in ours] == [line.rpartition(",")[0] for line in theirs]
    assert len(history) == 3


def test_a_penalty_is_learned_from(data: Dataset, tmp_path: Path) -> None:
    """One for large maps leaves smaller ones than there are without it."""
    shapes = []

    def penalty(images: torch.Tensor, maps: tuple[torch.Tensor, ...]) -> torch.Tensor:
        shapes.append(tuple(images.shape))
        assert 0 <= float(images.min()) < float(images.max()) <= 1
        return torch.stack([head.square().mean() for head in maps]).sum()

    grey, sizes = torch.full((1, 3, 64, 64), 0.5), []
    for name, technique in (("without", ORDINARY), ("with", Technique(penalty=penalty))):
        trainer(tmp_path / name, data, technique=technique, epochs=1).run()
        with torch.no_grad():
            maps = weights.load(tmp_path / name / LAST).network(grey)
        sizes.append(float(sum(head.square().sum() for head in maps)))
    assert shapes == [(4, 3, 64, 64), (4, 3, 64, 64), (2, 3, 64, 64)]
    assert sizes[1] < sizes[0]


class Sizes(Listener):
    """Keeps the side of the pictures of every epoch."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}

    def batch(self, batch: Batch, position: Position) -> None:
        self.seen[position.epoch] = batch.images.shape[-1]


def test_growing_pictures_go_on_bit_by_bit(data: Dataset, tmp_path: Path) -> None:
    """Stopped in the second of three epochs, of 32, 64 and, without mosaics, 64 pixels."""
    options = {"first_size": 32, "recipe": replace(RECIPE, plain_epochs=1)}
    sizes = Sizes()
    trainer(tmp_path / "whole", data, listener=sizes, **options).run()
    assert sizes.seen == {0: 32, 1: 64, 2: 64}
    with pytest.raises(ConnectionAbortedError):
        trainer(tmp_path / "parts", data, listener=StopAt(5), **options).run()
    again = trainer(tmp_path / "parts", data, **options)
    again.resume()
    again.run()
    assert_same_weights(tmp_path / "parts" / LAST, tmp_path / "whole" / LAST)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_process_goes_on(number: int, whole: Path, data: Dataset, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[3]); import test_trainer\n"
        "test_trainer.trainer(Path(sys.argv[1]), test_trainer.write_scenes(Path(sys.argv[2]))).run()"
    )
    command = [
        sys.executable,
        "-c",
        script,
        str(tmp_path),
        str(data.source.parent),
        str(Path(__file__).parent),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / STATE).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, number)
    assert process.wait(60) != 0
    again = trainer(tmp_path, data)
    again.resume()
    assert 0 < again.position.iteration < 9
    again.run()
    assert_same_weights(tmp_path / LAST, whole / LAST)


def test_learns_and_validates(data: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval")
    run = trainer(tmp_path, data, epochs=2)
    run.validation = data
    history = run.run()
    assert all(0 <= row["AP"] <= row["AP50"] <= 1 for row in history)
    assert (tmp_path / BEST).exists()
    assert len(run.position.ap) == len(CLASS_NAMES)
    draw_history(tmp_path / "results.png", history)
    assert cv2.imread(str(tmp_path / "results.png")) is not None


@pytest.mark.slow
def test_the_loss_falls(data: Dataset, tmp_path: Path) -> None:
    still = replace(
        RECIPE, mosaic=0, scale=0, translate=0, fliplr=0, hsv_s=0, hsv_v=0, lr0=0.005, optimizer="adamw"
    )
    options = {"batch_size": 10, "save_minutes": 10}
    history = trainer(tmp_path, data, recipe=still, epochs=40, **options).run()
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "bf16"},
        {"recipe": replace(RECIPE, optimizer="adamw", lr0=0.001), "clip": 1.0},
        {"multi_scale": True},
        {"freeze": ("stem", "backbone")},
        {"channels_last": False},
    ],
    ids=str,
)
def test_options(options: dict[str, Any], data: Dataset, tmp_path: Path) -> None:
    run = trainer(tmp_path, data, epochs=1, **options)
    before = {key: value.clone() for key, value in run.step.network.state_dict().items()}
    assert np.isfinite(run.run()[0]["loss"])
    after = run.step.network.state_dict()
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    frozen = {key for key in after if key.startswith(tuple(options.get("freeze", ("nothing",))))}
    assert not changed & frozen
    assert len(changed) > 0.9 * len(set(after) - frozen)


def test_image_weights_and_patience(data: Dataset, tmp_path: Path) -> None:
    run = trainer(tmp_path, data, image_weights=True, patience=2, epochs=50)
    run.position.ap = [1.0] * 6 + [0.0]
    chances = run._chances()
    has_last = np.array([6 in sample.class_id for sample in data.images])
    assert chances[has_last].min() > chances[~has_last].max()
    run.position.best, run.position.best_epoch = 0.5, 3
    run.position.epoch = 5
    assert not run._out_of_patience()
    run.position.epoch = 6
    assert run._out_of_patience()


def test_waiting_gradients_keep_their_sum_with_other_processes(data: Dataset, tmp_path: Path) -> None:
    """Each of two processes keeps half of what one has; one that goes on alone has all of it."""

    class Half(Processes):
        def settle_gradients(self, parameters: Any) -> None:
            for value in parameters:
                value.grad = torch.full_like(value, 0.5)

    run = trainer(tmp_path, data, processes=Half())
    object.__setattr__(run.processes, "count", 2)
    run.save()
    alone = trainer(tmp_path, data)
    alone.resume()
    assert all(bool((value.grad == 1).all()) for value in alone.step.network.parameters())
    same = trainer(tmp_path, data)
    object.__setattr__(same.processes, "count", 2)
    same.resume()
    assert all(bool((value.grad == 0.5).all()) for value in same.step.network.parameters())


def test_a_rectangular_run_learns(data: Dataset, tmp_path: Path) -> None:
    shapes: list[Any] = []

    class Eye(Listener):
        def batch(self, batch: Any, position: Any) -> None:
            shapes.append(tuple(batch.images.shape[2:]))

    images = list(data.images)
    for index, sample in enumerate(images[:5]):
        path = tmp_path / sample.path.name
        image = cv2.imread(str(sample.path))
        cv2.imwrite(str(path), cv2.copyMakeBorder(image, 0, 0, 0, 96, cv2.BORDER_CONSTANT))
        images[index] = replace(sample, path=path, declared_size=None)
    wide = replace(data, images=tuple(images))
    trainer(tmp_path / "run", wide, listener=Eye(), rect_train=True, epochs=1, batch_size=5).run()
    assert sorted(shapes) == [(64, 96), (96, 96)]


def test_damaged_images_are_told_once(data: Dataset, tmp_path: Path) -> None:
    told = []

    class Ear(Listener):
        def problem(self, problem: Any) -> None:
            told.append(problem.where)

    images = list(data.images)
    images[3] = replace(images[3], path=tmp_path / "missing.png")
    broken = replace(data, images=tuple(images))
    trainer(tmp_path, broken, listener=Listeners([Ear(), Listener()]), epochs=2, cache="none").run()
    assert told == [str(tmp_path / "missing.png")]


def test_trainer_refusals(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a multiple of 32"):
        trainer(tmp_path, data, image_size=100)
    with pytest.raises(UsageError, match="no training state to resume"):
        trainer(tmp_path, data).resume()
    (tmp_path / STATE).write_bytes(b"not a state")
    with pytest.raises(DamagedFileError, match="not a training state"):
        trainer(tmp_path, data).resume()
    with pytest.raises(UsageError, match="precision"):
        replace(SMALL, precision="int8")


def test_a_loss_that_is_no_number_ends_the_run(data: Dataset, tmp_path: Path) -> None:
    run = trainer(tmp_path, data)
    with torch.no_grad():
        run.step.network.outputs[0].conv.bias.fill_(float("nan"))
    with pytest.raises(EdgeYoloError, match="the loss became nan"):
        run.run()
    assert not (tmp_path / STATE).exists()


def test_weights_that_are_no_numbers_are_named_before_validation(data: Dataset, tmp_path: Path) -> None:
    run = trainer(tmp_path, data)
    run.validation = data
    with torch.no_grad():
        run.step.ema.network.outputs[0].conv.bias.fill_(float("inf"))
    with pytest.raises(EdgeYoloError, match="no longer finite") as told:
        run.run()
    assert "lr0" in told.value.hint


def test_a_run_too_short_for_one_step_says_so(data: Dataset, tmp_path: Path) -> None:
    class Notes(Listener):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, sentence: str) -> None:
            self.notes.append(sentence)

    short, long = Notes(), Notes()
    trainer(tmp_path / "a", data, listener=short, recipe=replace(RECIPE, nominal_batch=640)).run()
    trainer(tmp_path / "b", data, listener=long).run()
    assert "nothing will be learned" in " ".join(short.notes)
    assert not long.notes


def test_out_of_memory_says_what_to_try(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(tmp_path, data)

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(run.step), "__call__", fail)
    with pytest.raises(EdgeYoloError, match="--batch 2"):
        run.run()
