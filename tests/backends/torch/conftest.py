"""A machine with simulated NVIDIA GPUs for torch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the export extra")
sys.path.insert(0, str(Path(__file__).parent))

from fake_cuda import FakeNetwork, Machine

from edgeyolo.backend.interface import Availability
from edgeyolo_torch import cuda, cuda_session

Install = Callable[[pytest.MonkeyPatch, Machine], Machine]


@pytest.fixture(scope="session")
def install() -> Install:
    """Puts a simulated machine in the place of torch's CUDA."""

    def put(patch: pytest.MonkeyPatch, machine: Machine) -> Machine:
        module, load = machine.module(), cuda_session.load_network
        patch.setattr(cuda, "driver", lambda: Availability(True))
        patch.setattr(cuda, "load_torch", lambda: module)
        patch.setattr(cuda_session, "load_torch", lambda: module)
        patch.setattr(cuda_session, "load_network", lambda path: FakeNetwork(machine, load(path)))
        return machine

    return put
