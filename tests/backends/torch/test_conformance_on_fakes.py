"""The conformance suite that every backend passes, on simulated GPUs: eagerly, and with a CUDA graph."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_cuda import Machine

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.backend.conformance import *  # noqa: F403
from edgeyolo.export import export
from edgeyolo_torch import TorchBackend, TorchCudaBackend
from edgeyolo_torch.cuda import GRAPH_VARIABLE


@pytest.fixture(scope="module", params=["eager", pytest.param("graph", marks=pytest.mark.slow)])
def machine(request: pytest.FixtureRequest, install: Any) -> Iterator[Machine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(GRAPH_VARIABLE, str(int(request.param == "graph")))
        patch.setattr(
            registry, "backends", lambda: {"torch": TorchBackend(), "torch-cuda": TorchCudaBackend()}
        )
        yield install(patch, Machine(("NVIDIA L4", (8, 9))))


@pytest.fixture(scope="module")
def artifact(machine: Machine, small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    assert TorchCudaBackend().can_run().ok
    return export(small_weights, "cuda-torch-fp16", tmp_path_factory.mktemp("export") / "artifact")


@pytest.fixture(autouse=True)
def faultless(machine: Machine) -> Iterator[None]:
    """Whatever the suite did: nothing forbidden, nothing left on the GPU."""
    yield
    assert machine.violations == []
    gc.collect()
    assert not machine.live


def test_the_manifest_knows_the_gpu(artifact: Artifact, machine: Machine) -> None:
    assert artifact.manifest.tools["gpu"] == "NVIDIA L4"
    assert artifact.manifest.tools["cuda"] == "13.0"
    assert artifact.manifest.parity is not None
    assert artifact.manifest.parity.worst > 1e-5, "float16 was computed, not float32"
