"""torch on CUDA: why it is not usable, what it is asked for, and that the simulated GPU notices a broken session."""

from __future__ import annotations

import gc
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from fake_cuda import Machine

from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.backend.devices import Device
from edgeyolo.backend.interface import PlaceableBackend
from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo.models.weights import load
from edgeyolo_torch import TorchCudaBackend, cuda, cuda_session
from edgeyolo_torch.rounding import RoundedSession

L4 = ("NVIDIA L4", (8, 9))
INPUT = InputContract(96, 96, dynamic_batch=True, dynamic_size=True)


@pytest.fixture
def output(small_weights: Path) -> RawMaps:
    spec = load(small_weights).network.spec
    return RawMaps(("p3", "p4", "p5"), spec.strides, spec.anchors, 3)


@pytest.fixture
def make(small_weights: Path, output: RawMaps) -> Callable[..., Any]:
    def session(module: Any = cuda_session, *, index: int = 0, graph: bool = False) -> Any:
        return module.CudaSession(small_weights, INPUT, output, index=index, graph=graph)

    return session


@pytest.fixture
def stand_in(small_weights: Path, output: RawMaps) -> RoundedSession:
    return RoundedSession(small_weights, INPUT, output)


def batch(seed: int = 0, shape: tuple[int, ...] = (1, 3, 96, 96)) -> Any:
    return np.random.default_rng(seed).random(shape, np.float32)


def test_the_surface_is_torchs_own() -> None:
    """Everything that the simulation offers exists in torch, with the parameters that are given."""
    module = Machine(L4).module()
    assert all(hasattr(torch, name) for name in vars(module))
    assert all(hasattr(torch.cuda, name) for name in vars(module.cuda))
    assert "stream" in inspect.signature(torch.cuda.graph.__init__).parameters
    assert "device" in inspect.signature(torch.cuda.Stream.__new__).parameters
    assert hasattr(torch.cuda.CUDAGraph, "replay")
    assert "pin_memory" in (torch.empty.__doc__ or "")
    assert "memory_format" in (torch.nn.Module.to.__doc__ or "")


@pytest.mark.parametrize(
    ("machine", "index", "says"),
    [
        (Machine(L4, cuda=None), 0, "built without CUDA"),
        (Machine(), 0, "finds no GPU"),
        (Machine(L4), 3, "there is no GPU 3"),
        (Machine(("Tesla V100", (7, 0))), 0, r"no kernels for Tesla V100 \(compute capability 7.0\)"),
    ],
)  # fmt: skip
def test_why_it_cannot_run(
    machine: Machine, index: int, says: str, install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, machine)
    found = TorchCudaBackend().at(Device("cuda", index)).can_run()
    assert not found.ok
    assert re.search(says, found.reason)
    assert found.hint


def test_without_a_driver_torch_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(cuda.ctypes, "CDLL", absent)
    monkeypatch.setattr(cuda, "load_torch", lambda: pytest.fail("torch was imported"))
    found = TorchCudaBackend().can_run()
    assert not found.ok
    assert "driver does not load" in found.reason


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 9), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_80"], False),
        ((12, 0), ["sm_80", "compute_90"], True),
        ((12, 0), ["sm_120"], True),
        ((9, 0), ["sm_90a"], True),
        ((7, 0), [], False),
    ],
)
def test_kernels(capability: tuple[int, int], architectures: list[str], runs: bool) -> None:
    assert cuda.has_kernels(capability, architectures) is runs


def test_the_second_gpu(install: Any, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    machine = install(monkeypatch, Machine(L4, L4))
    assert isinstance(TorchCudaBackend(), PlaceableBackend)
    session = make(index=1)
    session.run(batch())
    assert {tensor.place for tensor in machine.live} == {"cuda:1"}
    session.close()
    assert machine.violations == []


@pytest.mark.parametrize("graph", [False, True])
def test_it_computes_what_the_stand_in_computes(
    graph: bool, install: Any, make: Callable[..., Any], stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = install(monkeypatch, Machine(L4))
    session = make(graph=graph)
    for seed, shape in ((0, (1, 3, 96, 96)), (1, (2, 3, 96, 96)), (2, (1, 3, 64, 128)), (3, (1, 3, 96, 96))):
        maps, expected = session.run(batch(seed, shape)), stand_in.run(batch(seed, shape))
        for name in expected:
            np.testing.assert_allclose(maps[name], expected[name], rtol=1e-3, atol=1e-3)
            assert maps[name].flags.c_contiguous
    assert machine.calls.count("capture") == (3 if graph else 0), "once for each shape"
    assert machine.calls.count("replay") == (4 if graph else 0)
    session.close()
    assert machine.violations == []


def test_the_stand_in_rounds(small_weights: Path, stand_in: RoundedSession) -> None:
    network = load(small_weights).network.eval()
    with torch.inference_mode():
        exact = network(torch.from_numpy(batch()))[0].numpy()
    half = stand_in.run(batch())["p3"]
    assert 0 < np.abs(half - exact).max() < 2e-2 * np.abs(exact).max()
    assert np.array_equal(half, half.astype(np.float16).astype(np.float32))


@pytest.mark.slow
def test_memory_of_old_shapes_is_given_back(
    install: Any, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = install(monkeypatch, Machine(L4))
    session = make()
    for side in range(1, cuda_session.SHAPES + 3):
        session.run(batch(0, (1, 3, 32 * side, 32)))
        gc.collect()
        assert len(machine.live) <= 1 + cuda_session.SHAPES * 4  # the weights; an input and three maps each
    session.close()
    gc.collect()
    assert not machine.live


def test_a_full_gpu_is_said_so(
    install: Any, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = install(monkeypatch, Machine(L4))
    session = make()
    machine.full = True
    with pytest.raises(EdgeYoloError, match="memory is full") as caught:
        session.run(batch())
    assert "More lines" not in caught.value.message
    machine.full = False
    assert session.run(batch())["p3"].shape[0] == 1


def test_errors_of_the_gpu_are_explained_and_others_pass(
    install: Any, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, Machine(L4))
    session = make()

    def failing(sentence: str) -> Callable[..., Any]:
        def fail(*_: Any) -> Any:
            raise RuntimeError(sentence)

        return fail

    monkeypatch.setattr(session, "_forward", failing("CUDA error: an illegal memory access\nMore lines."))
    with pytest.raises(EdgeYoloError, match="the GPU failed") as caught:
        session.run(batch())
    assert caught.value.message.endswith(": CUDA error: an illegal memory access")
    monkeypatch.setattr(session, "_forward", failing("sizes of tensors must match"))
    with pytest.raises(RuntimeError, match="sizes of tensors"):
        session.run(batch(1, (1, 3, 64, 64)))


def test_the_graph_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cuda.wants_graph({cuda.GRAPH_VARIABLE: "1"})
    assert not cuda.wants_graph({})
    with pytest.raises(UsageError, match="expected 0 or 1"):
        cuda.wants_graph({cuda.GRAPH_VARIABLE: "yes"})


MUTATIONS = {
    "results read early": (f"{16 * ' '}self._stream.synchronize()\n", ""),
    "results not copied": (".numpy().copy()", ".numpy()"),
    "pageable memory": ("dtype=self._torch.float32, pin_memory=True", "dtype=self._torch.float32"),
    "a copy that blocks": ("copy_(buffers.host, non_blocking=True)", "copy_(buffers.host)"),
    "weights not waited for": ("            torch.cuda.synchronize(self._device)\n", ""),
    "not channels last": (
        "given.to(dtype=torch.float16, memory_format=torch.channels_last)",
        "given.to(dtype=torch.float16, memory_format=torch.contiguous_format)",
    ),
    "captured cold": ("for _ in range(3)", "for _ in range(0)"),
    "with gradients": ("torch.inference_mode()", "torch.cuda.device(1)"),
    "another GPU is current": ("torch.cuda.device(self._index)", "torch.cuda.device(0)"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_session_is_noticed(
    name: str, install: Any, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = install(monkeypatch, Machine(L4, L4))
    source, (right, wrong) = Path(cuda_session.__file__).read_text(), MUTATIONS[name]
    assert source.count(right) >= 1
    broken = ModuleType("broken")
    monkeypatch.setitem(sys.modules, "broken", broken)
    exec(compile(source.replace(right, wrong), "broken.py", "exec"), vars(broken))
    broken.load_torch, broken.load_network = cuda_session.load_torch, cuda_session.load_network  # type: ignore[attr-defined]
    session = make(broken, index=1, graph=name == "captured cold")
    held = session.run(batch(0))
    kept = {key: value.copy() for key, value in held.items()}
    session.run(batch(1))
    overwritten = any(not np.array_equal(held[key], kept[key]) for key in held)
    assert machine.violations or overwritten
