"""Engines that others built: looked into and adopted where they run, refused elsewhere; which GPU is said by `at`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tensorrt_fakes.machine import FakeGpu
from tensorrt_fakes.scenario import Install

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend.devices import Device
from edgeyolo.detector.adopt import adopt, template
from edgeyolo.errors import RuntimeMissingError
from edgeyolo.runtime.verify import verify
from edgeyolo_tensorrt.backend import TensorrtBackend
from edgeyolo_tensorrt.engine.builder import build_engine
from edgeyolo_tensorrt.options import DeviceOptions

ORIN, L4 = FakeGpu("Orin", (8, 7)), FakeGpu("NVIDIA L4", (8, 9), dla_cores=0)


@pytest.fixture
def spec(package: Callable[..., Artifact]) -> dict[str, Any]:
    manifest = package("gpu-trt-fp16").manifest
    return {
        "class_names": list(manifest.class_names),
        "input": asdict(manifest.input),
        "output": asdict(manifest.output),
    }


def built(package: Callable[..., Artifact], place: Path) -> Path:
    """An engine of this machine, as trtexec leaves it: a file and nothing else."""
    made = build_engine(package("gpu-trt-fp16"), DeviceOptions())
    return Path(shutil.copy(made.path, place / "m.engine"))


def test_an_engine_is_adopted_where_it_runs(
    device: Install, package: Callable[..., Artifact], spec: dict[str, Any], tmp_path: Path
) -> None:
    device(L4)
    engine = built(package, tmp_path)
    sentences, blank = template(engine)
    assert "3 raw head maps in NCHW (3 anchors, 3 classes)" in sentences[1]
    assert blank["input"]["height"] == 96
    artifact = adopt(engine, spec, tmp_path / "adopted")
    assert (artifact.path / "model.engine").read_bytes() == engine.read_bytes()
    assert verify(artifact.path).runtime == "tensorrt"


def test_on_another_gpu_it_says_so(
    device: Install, package: Callable[..., Artifact], spec: dict[str, Any], tmp_path: Path
) -> None:
    device(L4)
    adopted = adopt(built(package, tmp_path), spec, tmp_path / "adopted")
    device(ORIN)
    with pytest.raises(RuntimeMissingError, match="cannot load this engine") as caught:
        verify(adopted.path)
    assert caught.value.exit_code == 3


def test_a_device_with_a_number_is_that_one(device: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = device(ORIN, L4)
    backend = TensorrtBackend()
    assert backend._options() == DeviceOptions()
    assert backend.at(Device("cuda", 1))._options().device == 1
    assert backend.at(Device("dla", 1))._options() == DeviceOptions(dla_core=1)
    monkeypatch.setenv("EDGEYOLO_TENSORRT_DEVICE", "0")
    assert backend.at(Device("gpu", 1))._options().device == 1, "an argument comes before the environment"
    assert backend.at(Device("cuda", 1)).can_run().ok
    assert not backend.at(Device("cuda", 2)).can_run().ok
    assert machine.left_over() == []
