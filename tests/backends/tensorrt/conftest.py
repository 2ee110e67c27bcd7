"""A machine with a simulated GPU, and packages to run on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

if "tensorrt_fakes" not in sys.modules:  # the folder `fakes` as a package of an unmistakable name
    package = ModuleType("tensorrt_fakes")
    package.__path__ = [str(Path(__file__).parent / "fakes")]
    sys.modules["tensorrt_fakes"] = package

from tensorrt_fakes.install import install
from tensorrt_fakes.machine import FakeGpu, Machine
from tensorrt_fakes.scenario import Install

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.export import ExportOptions, export

TENSORRT, CUDA = "10.3.0", "cuda-python 13.4.4"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of the test's own, and no options from outside."""
    for name in [name for name in os.environ if name.startswith("EDGEYOLO_TENSORRT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`device(FakeGpu(...), tensorrt=..., cuda=...)` gives a machine; at the end nothing was done wrong on it."""
    machines = []

    def make(
        *gpus: FakeGpu, tensorrt: str | None = TENSORRT, cuda: str | None = CUDA, driver: int = 12060
    ) -> Machine:
        machine = Machine(*gpus, driver=driver)
        install(monkeypatch, machine, tensorrt=tensorrt, cuda=cuda)
        machines.append(machine)
        return machine

    yield make
    for machine in machines:
        assert machine.violations == []


@pytest.fixture(scope="session")
def package(
    small_weights: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Artifact]:
    """`package("jetson-trt-fp16", dynamic=True)` exports the small network, once each, on a machine without GPU."""

    @cache
    def make(target: str = "jetson-trt-fp16", *, dynamic: bool = False) -> Artifact:
        into = tmp_path_factory.mktemp("packages") / target
        with pytest.MonkeyPatch.context() as patch:
            install(patch, Machine(), tensorrt=None, cuda=None)
            return export(small_weights, target, into, ExportOptions(dynamic_batch=dynamic))

    return make
