"""Recorded trainings: stages follow each other, are gone on with, and leave a record that says what was run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("faster_coco_eval")

import result_files  # noqa: E402
import train_recorded  # noqa: E402
from trainings import TRAININGS, Stage, Training, with_epochs  # noqa: E402

from edgeyolo.datasets import load_dataset  # noqa: E402
from edgeyolo.datasets.scenes import write_dataset  # noqa: E402
from edgeyolo.models import specs, weights  # noqa: E402
from edgeyolo.training.config import TrainConfig  # noqa: E402
from edgeyolo.training.data.phases import Phases  # noqa: E402
from edgeyolo.training.loop.trainer import LAST  # noqa: E402
from edgeyolo.training.recipe import TINY  # noqa: E402

CONFIG = TrainConfig(epochs=1, batch_size=4, image_size=64, cache="pixels")
RECIPE = replace(TINY, nominal_batch=4, warmup_iterations=1, warmup_epochs=0, mosaic=0)
SMALL = Training("small", "yolov7-tiny", "train", "val", 64, (
    Stage("first", replace(CONFIG, image_size=32), RECIPE), Stage("second", CONFIG, RECIPE),
))  # fmt: skip


def test_stages_are_trained_once_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    learned = load_dataset(write_dataset(tmp_path / "train", range(1000, 1004), (64, 64)))
    judged = load_dataset(write_dataset(tmp_path / "val", range(2), (64, 64)))
    train_recorded.run_stages(SMALL, tmp_path / "runs", learned, judged)
    facts = train_recorded.record(SMALL, tmp_path / "runs", judged, len(learned), remark="It rained.")
    assert [(stage["name"], stage["passes"]) for stage in facts["stages"]] == [("first", 4), ("second", 4)]
    assert facts["stages"][0]["config"]["image_size"] == 32
    assert 0 <= facts["metrics"]["AP"] <= 1
    assert "/" not in facts["protocol"].split(";")[0]
    again = (tmp_path / "runs/second" / LAST).read_bytes()
    train_recorded.run_stages(SMALL, tmp_path / "runs", learned, judged)
    assert (tmp_path / "runs/second" / LAST).read_bytes() == again
    monkeypatch.setattr(result_files, "RESULTS", tmp_path)
    assert train_recorded.remark_before(SMALL) == ""
    result_files.write("train-small", facts, train_recorded.to_markdown(facts))
    told = (tmp_path / "train-small.md").read_text(encoding="utf-8")
    assert (
        json.loads((tmp_path / "train-small.json").read_text(encoding="utf-8"))["sha256"] == facts["sha256"]
    )
    assert "## Stage second" in told
    assert "1 epochs, 4 pictures" in told
    assert "It rained." in told
    assert "fp32, sgd, seed 0" in told
    assert "Recipe `tiny` with nominal_batch=4, warmup_epochs=0, warmup_iterations=1, mosaic=0." in told
    assert train_recorded.remark_before(SMALL) == "It rained."
    assert facts["sha256"][:12] in told


@pytest.mark.slow
def test_the_second_stage_starts_from_the_first(tmp_path: Path) -> None:
    """With a rate of nothing, what comes out is what went in."""
    torch.set_num_threads(1)
    data = load_dataset(write_dataset(tmp_path / "train", range(1000, 1004), (64, 64)))
    still = Stage("second", CONFIG, replace(RECIPE, lr0=0.0, warmup_bias_lr=0.0))
    train_recorded.run_stages(replace(SMALL, stages=(SMALL.stages[0], still)), tmp_path / "runs", data, data)
    first, second = (
        weights.load(tmp_path / "runs" / name / LAST).network.state_dict() for name in ("first", "second")
    )
    assert all(torch.equal(first[key], second[key]) for key in first if key.endswith("conv.weight"))


@pytest.mark.parametrize("name", sorted(TRAININGS))
def test_recorded_recipes_can_be_trained(name: str) -> None:
    training = TRAININGS[name]
    assert with_epochs(training, 7).stages[-1].config.epochs == 7
    assert all(stage.config.seed == 0 for stage in training.stages)
    for stage in training.stages:
        config, strides = stage.config, specs.find(training.network).strides
        first = config.first_size or config.image_size
        Phases(stage.recipe, config.epochs, config.image_size, first, max(strides))
