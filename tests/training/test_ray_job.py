"""The engine of Ray before and after Ray's own work; Ray itself is in test_ray_engine.py."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edgeyolo.errors import EdgeYoloError, NotFiniteError, UsageError  # noqa: E402
from edgeyolo.training.config import TrainConfig  # noqa: E402
from edgeyolo.training.loop.trainer import STATE  # noqa: E402
from edgeyolo.training.ray_engine import CHECKPOINTS, Job, train_by_ray  # noqa: E402
from edgeyolo.training.sources import DataSource  # noqa: E402

JOB = Job(Path("run"), DataSource("data.json"), "yolov7-tiny", TrainConfig(batch_size=4))


class TrainingFailedError(Exception):
    def __init__(self, message: str, failures: dict[int, Exception]) -> None:
        super().__init__(message)
        self.worker_failures = failures


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A stand-in for Ray that notes how it is called; `fit` is what its trainer does."""
    called = SimpleNamespace(fit=lambda: SimpleNamespace(metrics={"history": []}))

    def note(name: str) -> Any:
        def made(*arguments: Any, **options: Any) -> SimpleNamespace:
            setattr(called, name, options)
            return SimpleNamespace(fit=called.fit, **options)

        return made

    root, train, torch_part = (ModuleType(name) for name in ("ray", "ray.train", "ray.train.torch"))
    for name in ("ScalingConfig", "RunConfig", "FailureConfig", "CheckpointConfig", "LoggingConfig"):
        setattr(train, name, note(name))
    parts: Any = (root, train, torch_part)
    parts[1].TrainingFailedError = TrainingFailedError
    parts[2].TorchTrainer = note("TorchTrainer")
    parts[0].train, parts[1].torch = parts[1], parts[2]
    parts[0].exceptions = SimpleNamespace(RayError=ZeroDivisionError)
    parts[0].is_initialized = lambda: True
    for part in parts:
        monkeypatch.setitem(sys.modules, part.__name__, part)
    monkeypatch.chdir(tmp_path)
    return called


def test_ray_is_asked_for_processes_checkpoints_and_restarts(ray: SimpleNamespace) -> None:
    assert train_by_ray(JOB, 2) == []
    assert ray.ScalingConfig["num_workers"] == 2 and not ray.ScalingConfig["use_gpu"]
    assert ray.FailureConfig["max_failures"] > 0
    assert ray.RunConfig["storage_path"] == str(Path("run").absolute())
    assert ray.CheckpointConfig == {"num_to_keep": 1}


def test_a_batch_that_cannot_be_shared_and_an_occupied_folder(ray: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch_size=4: expected a multiple of the 3 processes"):
        train_by_ray(JOB, 3)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / STATE).write_text("")
    with pytest.raises(UsageError, match="holds a run already"):
        train_by_ray(JOB, 2)


def test_checkpoints_of_an_earlier_session_are_not_gone_back_to(ray: SimpleNamespace, tmp_path: Path) -> None:
    old = tmp_path / "run" / CHECKPOINTS / "checkpoint_1"
    old.mkdir(parents=True)

    def fit() -> SimpleNamespace:
        assert not old.exists()
        old.mkdir(parents=True)
        return SimpleNamespace(metrics={"history": [{"epoch": 0}]})

    ray.fit = fit
    assert train_by_ray(JOB, 1) == [{"epoch": 0}]
    assert not (tmp_path / "run" / CHECKPOINTS).exists()


def test_errors_of_processes_are_told_as_they_are(ray: SimpleNamespace) -> None:
    cause = NotFiniteError("the loss became nan", hint="Lower lr0.")

    def fail(failures: dict[int, Exception]) -> None:
        def fit() -> None:
            raise TrainingFailedError("Training failed:\n\n[Rank 1]\nNode is gone\n", failures)

        ray.fit = fit

    fail({0: OSError("peer"), 1: cause})
    with pytest.raises(NotFiniteError) as told:
        train_by_ray(JOB, 2)
    assert told.value is cause
    fail({1: OSError("peer")})
    with pytest.raises(EdgeYoloError, match="Ray: Node is gone"):
        train_by_ray(JOB, 2)
