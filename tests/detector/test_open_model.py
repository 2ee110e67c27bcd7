"""From what a user calls a model to an artifact: target, device and environment, and which of them has its way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeyolo import Detector
from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.backend.devices import Device
from edgeyolo.detector import open_model as opening
from edgeyolo.detector.open_model import Wanted, open_model
from edgeyolo.errors import UsageError


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"weights")
    return path


@pytest.fixture(autouse=True)
def exported(monkeypatch: pytest.MonkeyPatch, small_artifact: Path, tmp_path: Path) -> list[str]:
    """The targets that were exported; the artifact is always the same one."""
    asked: list[str] = []

    def export(weights: Path, target: str, size: Any, step: Callable[[str], None]) -> Artifact:
        asked.append(target)
        return Artifact.open(small_artifact)

    monkeypatch.setattr(opening, "_exported", export)
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEYOLO_MEASURE", "0")
    for name in ("EDGEYOLO_TARGET", "EDGEYOLO_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    return asked


def test_weights_run_on_the_default_which_says_so(weights: Path, exported: list[str]) -> None:
    opened = open_model(weights)
    assert exported == ["cpu-onnx-fp32"]
    assert 'device="auto" looks for the fastest' in opened.explanation.decided
    assert opened.device is None


def test_what_is_no_path_is_named() -> None:
    with pytest.raises(UsageError, match="model: expected a path, got None"):
        open_model(None)  # type: ignore[arg-type]


def test_a_target_that_was_asked_for(
    weights: Path, exported: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEYOLO_TARGET", "cpu-torch-fp32")
    opened = open_model(weights, Wanted(target="cpu-openvino-fp32"))
    assert exported == ["cpu-openvino-fp32"]
    assert "was asked for" in opened.explanation.decided


def test_the_environment_stands_for_arguments(
    weights: Path, exported: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEYOLO_TARGET", "cpu-torch-fp32")
    assert "EDGEYOLO_TARGET=cpu-torch-fp32" in open_model(weights, Wanted(device="auto")).explanation.decided
    monkeypatch.delenv("EDGEYOLO_TARGET")
    monkeypatch.setenv("EDGEYOLO_DEVICE", "cpu")
    found = open_model(weights).explanation
    assert found.device == "cpu"
    assert "documented order" in found.decided
    assert exported[0] == "cpu-torch-fp32"
    assert exported[1].startswith("cpu-")


def test_a_target_and_a_device_that_contradict_each_other(weights: Path) -> None:
    with pytest.raises(
        UsageError, match=r"device cuda: the target is cpu-onnx-fp32, which is for the device cpu"
    ):
        open_model(weights, Wanted("cpu-onnx-fp32", "cuda"))
    opened = open_model(weights, Wanted("cuda-torch-fp16", "cuda:1"))
    assert opened.device == Device("cuda", 1)


def test_an_artifact_says_itself(
    small_artifact: Path, exported: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEYOLO_TARGET", "cpu-torch-fp32")
    for device in (None, "auto", "cpu"):
        opened = open_model(small_artifact / MANIFEST, Wanted(device=device))
        assert opened.artifact.path == small_artifact
        assert "its manifest says so" in opened.explanation.decided
        assert opened.explanation.considered[0].usable
    assert exported == []
    with pytest.raises(UsageError, match="was exported for cpu-onnx-fp32, which is for the device cpu"):
        open_model(small_artifact, Wanted(device="intel:gpu"))
    with pytest.raises(UsageError, match="at 96x96, not at 64x64"):
        open_model(small_artifact, Wanted(size=(64, 64)))
    monkeypatch.setenv("EDGEYOLO_DEVICE", "tpu")
    with pytest.raises(UsageError, match="EDGEYOLO_DEVICE is set"):
        open_model(small_artifact)
    with pytest.raises(UsageError, match="device ane: "):
        open_model(small_artifact, Wanted(device="ane"))


def test_a_detector_explains_itself(small_artifact: Path) -> None:
    with Detector(small_artifact, device="cpu") as detector:
        explanation = detector.explain()
    assert str(explanation).startswith(f"{small_artifact} runs on cpu-onnx-fp32")
    assert json.loads(json.dumps(explanation.to_json()))["device"] == "cpu"


def test_an_unknown_device_is_told_before_anything_is_done(weights: Path, exported: list[str]) -> None:
    with pytest.raises(UsageError, match="device 'cud'"):
        Detector(weights, device="cud")
    assert exported == []
