"""Settings of a session by target, device and environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeyolo.artifact.target import Target
from edgeyolo.errors import UsageError
from edgeyolo_openvino.settings import Settings, chosen_device, from_environment

FP32 = Target("cpu", "openvino", "fp32")
FP16 = Target("gpu", "openvino", "fp16")


@pytest.mark.parametrize(
    ("target", "device", "precision"),
    [
        (FP32, "CPU", "f32"),
        (Target("cpu", "openvino", "bf16"), "CPU", "bf16"),
        (FP16, "CPU", "f32"),
        (FP32, "GPU", "f32"),
        (FP16, "GPU", "f16"),
        (FP16, "GPU.1", "f16"),
        (FP32, "NPU", "f16"),
    ],
)
def test_the_precision_is_always_pinned(target: Target, device: str, precision: str) -> None:
    properties = Settings(device, target).device_properties(device)
    assert properties == {"INFERENCE_PRECISION_HINT": precision}


def test_the_stick_is_asked_nothing_that_it_does_not_know() -> None:
    settings = from_environment(FP16, "MYRIAD", 2, {})
    assert (settings.device_properties("MYRIAD"), settings.compile_properties()) == ({}, {})


def test_threads_are_the_cpus() -> None:
    settings = from_environment(FP32, "CPU", 3, {"EDGEYOLO_OPENVINO_DEVICE": "auto:gpu,cpu"})
    assert settings.device_properties("CPU")["INFERENCE_NUM_THREADS"] == 3
    assert "INFERENCE_NUM_THREADS" not in settings.device_properties("GPU")


def test_the_environment_overrides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path / "cache"))
    environment = {
        "EDGEYOLO_OPENVINO_DEVICE": " gpu.1 ",
        "EDGEYOLO_OPENVINO_HINT": "Throughput",
        "EDGEYOLO_OPENVINO_PRECISION": "BF16",
    }
    settings = from_environment(FP32, "CPU", None, environment)
    assert settings.device == chosen_device("CPU", environment) == "GPU.1"
    assert settings.device_properties("GPU.1") == {"INFERENCE_PRECISION_HINT": "bf16"}
    cache = tmp_path / "cache" / "openvino"
    assert settings.compile_properties() == {"PERFORMANCE_HINT": "THROUGHPUT", "CACHE_DIR": str(cache)}
    assert cache.is_dir()


def test_the_defaults_are_latency_and_no_cache_for_the_cpu() -> None:
    settings = from_environment(FP32, "CPU", None, {})
    assert settings.compile_properties() == {"PERFORMANCE_HINT": "LATENCY"}


def test_a_cache_that_cannot_be_written_is_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path / "file" / "cache"))
    settings = from_environment(FP16, "GPU", None, {})
    assert settings.compile_properties() == {"PERFORMANCE_HINT": "LATENCY"}


@pytest.mark.parametrize("name", ["HINT", "PRECISION"])
def test_a_word_that_is_not_known_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"EDGEYOLO_OPENVINO_{name}='fast': expected"):
        from_environment(FP32, "CPU", None, {f"EDGEYOLO_OPENVINO_{name}": "fast"})
