"""The conformance suite that every backend passes, on simulated devices of three TensorRT generations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorrt_fakes.install import install
from tensorrt_fakes.machine import FakeGpu, Machine

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend.conformance import *  # noqa: F403
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.export import ExportOptions, export

DEVICES = {
    "JetPack 5": ("jetson-trt-fp16", "8.5.3.1", "pycuda", FakeGpu("Orin", (8, 7))),
    "JetPack 6": ("jetson-trt-fp32", "10.3.0", "cuda-python 12.6.0", FakeGpu("Orin", (8, 7))),
    "V100": ("v100-trt-fp16", "10.4.0", "cuda-python 11.8.7", FakeGpu("Tesla V100-SXM2-16GB", (7, 0), dla_cores=0)),
    "integers": ("gpu-trt-int8", "10.3.0", "cuda-python 12.6.0", FakeGpu("NVIDIA L4", (8, 9), dla_cores=0)),
    "newest": ("gpu-trt-fp16", "11.4.0.106", "cuda-python 13.4.4", FakeGpu("NVIDIA L4", (8, 9), dla_cores=0)),
}  # fmt: skip


PARAMS = [
    pytest.param(name, marks=[pytest.mark.slow] if name in ("JetPack 6", "integers") else [])
    for name in DEVICES
]


@pytest.fixture(scope="module", params=PARAMS)
def machine(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Machine]:
    _, version, cuda, gpu = DEVICES[request.param]
    machine = Machine(gpu)
    machine.target = DEVICES[request.param][0]  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        install(patch, machine, tensorrt=version, cuda=cuda)
        patch.setenv("EDGEYOLO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield machine


@pytest.fixture(autouse=True)
def clean_environment() -> None:
    """In place of the one for single tests: the cache of engines lasts for the module."""


@pytest.fixture(scope="module")
def artifact(
    machine: Machine,
    small_weights: Path,
    calibration: CalibrationSource,
    tmp_path_factory: pytest.TempPathFactory,
) -> Artifact:
    into = tmp_path_factory.mktemp("export") / "artifact"
    return export(small_weights, machine.target, into, ExportOptions(calibration=calibration))  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def faultless(machine: Machine) -> Iterator[None]:
    """Whatever the suite did: nothing forbidden, and everything given back."""
    yield
    assert machine.violations == []
    assert machine.left_over() == []
    assert machine.gpus[0].used == 0
