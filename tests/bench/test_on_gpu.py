"""The GPU script rehearsed on the CPU: packed data, a run by the clock, network speed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("faster_coco_eval")

import network_speed  # noqa: E402
import on_gpu  # noqa: E402
import packed_data  # noqa: E402
from packed_data import QUALITIES, pack, unpack  # noqa: E402
from timed_training import Clock, TimedPhases, TimedSchedule  # noqa: E402
from trainings import ON_GPU  # noqa: E402

from edgeyolo.datasets import Dataset, load_dataset  # noqa: E402
from edgeyolo.datasets.scenes import write_dataset  # noqa: E402
from edgeyolo.models import weights  # noqa: E402
from edgeyolo.training.data.phases import Phases  # noqa: E402
from edgeyolo.training.loop.schedule import Schedule  # noqa: E402


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Dataset]:
    return {
        "train": load_dataset(write_dataset(tmp_path / "train", range(1000, 1003), (96, 128))),
        "val": load_dataset(write_dataset(tmp_path / "val", range(2), (96, 128))),
    }


def test_what_is_packed_is_what_comes_out(parts: dict[str, Dataset], tmp_path: Path) -> None:
    quality = pack(parts, tmp_path / "data.zip")
    assert quality == QUALITIES[0]
    unpacked = unpack(tmp_path / "data.zip", tmp_path / "out")
    for name, dataset in parts.items():
        assert len(unpacked[name]) == len(dataset)
        assert unpacked[name].class_names == dataset.class_names
        for before, after in zip(dataset.images, unpacked[name].images, strict=True):
            assert after.size == before.size
            assert after.class_id.tolist() == before.class_id.tolist()
            assert np.allclose(after.boxes, before.boxes, atol=0.01)


def test_pictures_are_made_smaller_until_they_fit(parts: dict[str, Dataset], tmp_path: Path) -> None:
    pack(parts, tmp_path / "best.zip")
    limit = (tmp_path / "best.zip").stat().st_size * 3 // 5
    quality = pack(parts, tmp_path / "less.zip", limit=limit)
    assert QUALITIES.index(quality) > 0
    assert (tmp_path / "less.zip").stat().st_size <= limit
    with pytest.raises(SystemExit, match="do not fit into 1000 bytes"):
        pack(parts, tmp_path / "none.zip", limit=1000)
    assert not (tmp_path / "none.zip").exists()


def test_a_large_picture_is_shrunk_with_its_boxes(tmp_path: Path) -> None:
    large = load_dataset(write_dataset(tmp_path / "large", range(1), (480, 640)))
    pack({"train": large, "val": large}, tmp_path / "data.zip")
    (after,) = unpack(tmp_path / "data.zip", tmp_path / "out")["train"].images
    assert after.size == (384, 288)
    assert np.allclose(after.boxes, large.images[0].boxes * 0.6, atol=0.01)


def test_rates_and_the_plain_end_follow_the_clock() -> None:
    recipe = replace(ON_GPU.recipe, warmup_iterations=0, warmup_epochs=0.0)
    rates, plain = [], []
    for share in (0.0, 0.5, 0.95, 1.0):
        clock = Clock.of(1000)
        clock = replace(clock, begin=clock.begin - share * 1e6, end=clock.begin + (1 - share) * 1e6)
        rates.append(TimedSchedule(recipe, 300, 10, 16, clock).at(0).lr)
        plain.append(TimedPhases(recipe, 300, 64, 64, 32, clock).at(0).recipe.mosaic == 0)
    assert rates[0] == pytest.approx(recipe.lr0, rel=1e-3)
    assert rates[1] == pytest.approx(recipe.lr0 * (1 + recipe.lrf) / 2, rel=1e-3)
    assert rates[3] == pytest.approx(recipe.lr0 * recipe.lrf, rel=1e-3)
    assert plain == [False, False, True, True]
    early = Clock.of(1e9)  # a machine that has done all epochs long before the time is over
    assert TimedSchedule(recipe, 300, 10, 16, early).at(2990).lr == Schedule(recipe, 300, 10, 16).at(2990).lr
    assert TimedPhases(recipe, 300, 64, 64, 32, early).at(299) == Phases(recipe, 300, 64, 64, 32).at(299)


def rehearse(parts: dict[str, Dataset], tmp_path: Path, *more: str) -> Path:
    torch.set_num_threads(1)
    pack(parts, tmp_path / "data.zip")
    output = tmp_path / "output"
    on_gpu.main([
        "--data", str(tmp_path / "data.zip"), "--output", str(output), "--device", "cpu", "--batch", "2",
        "--imgsz", "64", "--workers", "0", "--weights", "efficientnet-lite0-pan", "--networks", "yolov7-tiny",
        "--speed-imgsz", "64", "--speed-seconds", "0.01", *more,
    ])  # fmt: skip
    return output


def test_the_whole_script_on_the_cpu(
    parts: dict[str, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_speed, "BATCHES", (1,))
    output = rehearse(parts, tmp_path, "--epochs", "1", "--published", str(tmp_path / "nothing"))
    facts = json.loads((output / "on_gpu.json").read_text(encoding="utf-8"))
    assert facts["stage"]["passes"] == 4  # three pictures, and one again to fill two batches
    assert facts["stage"]["config"]["image_size"] == 64
    assert 0 <= facts["weights"]["metrics"]["AP50"] <= 1
    loaded = weights.load(output / "builtin.safetensors")
    assert loaded.class_names == parts["train"].class_names
    assert (output / "builtin.safetensors").stat().st_size < 16_000_000
    assert [(each["code"], each["failed"] != "") for each in facts["speeds"]] == [
        ("edgeyolo", False), ("edgeyolo", False), ("published", True), ("published", True),
    ]  # fmt: skip
    assert facts["speeds"][0]["milliseconds"] > 0
    table = (output / "on_gpu.md").read_text(encoding="utf-8")
    assert "1 epochs, 4 pictures" in table
    assert "ModuleNotFoundError" in table


def test_a_run_ends_with_its_time(parts: dict[str, Dataset], tmp_path: Path) -> None:
    output = rehearse(parts, tmp_path, "--epochs", "300", "--seconds", "0.1", "--skip-speed")
    facts = json.loads((output / "on_gpu.json").read_text(encoding="utf-8"))
    assert facts["stage"]["config"]["epochs"] == 1
    assert facts["stage"]["curve"][0]["AP50"] >= 0  # the last epoch is judged, whichever it is


def test_data_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        on_gpu.main(["--output", str(tmp_path)])


def test_the_stage_fits_the_network() -> None:
    config = ON_GPU.config
    Phases(ON_GPU.recipe, config.epochs, config.image_size, config.first_size or config.image_size, 32)
    assert config.compile
    assert packed_data.LIMIT == 60_000_000
