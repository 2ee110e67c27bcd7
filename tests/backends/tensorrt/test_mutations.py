"""The backend's own code, broken on purpose, piece by piece: the simulated devices notice every one.

What passes here unnoticed would pass on a simulated device in the other tests too, and fail on a real one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from tensorrt_fakes.install import install
from tensorrt_fakes.machine import FakeGpu, Machine
from tensorrt_fakes.scenario import Package, batch_for, expected, opened

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.errors import EdgeYoloError
from edgeyolo_tensorrt.engine.builder import build_engine
from edgeyolo_tensorrt.options import DeviceOptions

NEW, OLD, PYCUDA = "cuda-python 13.4.4", "cuda-python 12.6.0", "pycuda"


@dataclass(frozen=True)
class Change:
    """One piece of a module's text for another."""

    module: str
    where: str  # a TensorRT version, a CUDA package, or ""
    wrong: str
    old: str
    new: str

    def cuda(self) -> list[str]:
        """The CUDA packages that the change can be noticed with."""
        if self.module in ("cuda.cuda_python", "engine.job") or self.where == "cuda-python":
            return [NEW]
        return [PYCUDA] if self.module == "cuda.cuda_pycuda" else [NEW, PYCUDA]


def read_changes(text: str) -> Iterator[Change]:
    for block in re.split(r"^@@ ", text, flags=re.MULTILINE)[1:]:
        head, _, body = block.rstrip().partition("\n")
        place, _, wrong = head.partition(": ")
        module, _, where = place.partition(" ")
        lines = body.splitlines()
        old = "\n".join(line[1:] for line in lines if line[0] in " -")
        new = "\n".join(line[1:] for line in lines if line[0] in " +")
        yield Change(module, where, wrong, old, new)


CHANGES = list(read_changes((Path(__file__).parent / "mutations.diff").read_text()))


def mutated(change: Change) -> ModuleType:
    """A module of the backend with one piece of its text replaced."""
    original = import_module(f"edgeyolo_tensorrt.{change.module}")
    path = Path(str(original.__file__))
    text = path.read_text()
    assert text.count(change.old) >= 1, f"{path.name} no longer holds:\n{change.old}"
    module = ModuleType(original.__name__)
    module.__dict__.update({"__file__": str(path), "__package__": original.__package__})
    # Dataclasses look their module up while they are made.
    kept, sys.modules[module.__name__] = sys.modules[module.__name__], module
    try:
        exec(compile(text.replace(change.old, change.new), str(path), "exec"), module.__dict__)
    finally:
        sys.modules[module.__name__] = kept
    return module


def problems(machine: Machine, half: Artifact, exact: Artifact) -> list[str]:
    """Everything that can be seen to be wrong while a machine's second GPU is used in every way."""
    found: list[str] = []
    try:
        _use(machine, half, found)
        session = opened(exact, device=1)
        _compare(session.run(batch_for(exact)), expected(exact, batch_for(exact)), found)
        session.close()
        machine.build_error = "Could not find any implementation"
        _expect_refusal(
            lambda: build_engine(half, DeviceOptions(device=1), force=True), machine.build_error, found
        )
    except Exception as error:  # noqa: BLE001 - a mutant may fail in any way; failing is being noticed
        found.append(f"{type(error).__name__}: {error}")
    left = [f"left over: {each}" for each in machine.left_over()]
    return found + machine.violations + left + (["a context stays on the stack"] if machine.stack() else [])


def _use(machine: Machine, artifact: Artifact, found: list[str]) -> None:
    session = opened(artifact, device=1, cuda_graph=True)
    held = []
    for number, images in enumerate((1, 1, 1, 3, 1, 3)):
        batch = batch_for(artifact, images, seed=number % 2)
        held.append((session.run(batch), expected(artifact, batch)))
    if machine.gpus[1].used > 400_000:  # three images and their maps
        found.append(f"{machine.gpus[1].used} bytes in use")
    before = set(machine.allocations)
    session.run(batch_for(artifact, 1))
    if set(machine.allocations) != before:
        found.append("buffers replaced")
    batches = [batch_for(artifact, 1 + seed % 2, seed) for seed in range(4)]
    machine.wait_s = 0.005  # long enough for the threads to meet
    with ThreadPoolExecutor(4) as pool:
        held += list(
            zip(pool.map(session.run, batches), [expected(artifact, b) for b in batches], strict=True)
        )
    machine.wait_s = 0.0
    _expect_refusal(lambda: session.run(np.repeat(batches[0], 32, axis=0)), "out of memory", found)
    machine.events.clear()
    session.close()
    _check_order(machine.events, found)
    for have, want in held:
        _compare(have, want, found)
    _fail_halfway(machine, artifact, found)


def _fail_halfway(machine: Machine, artifact: Artifact, found: list[str]) -> None:
    """A network that cannot be recorded, and then not even run."""
    session = opened(artifact, device=1, cuda_graph=True)
    batch = batch_for(artifact)
    machine.recordable = False
    for _ in range(2):
        _compare(session.run(batch), expected(artifact, batch), found)
    machine.recordable, machine.executable = True, False
    _expect_refusal(lambda: session.run(batch), "could not run", found)
    session.close()
    machine.executable = True


def _expect_refusal(attempt: Callable[[], object], reason: str, found: list[str]) -> None:
    try:
        attempt()
    except EdgeYoloError as error:
        if reason not in str(error):
            found.append(f"expected {reason!r}: {error}")
    else:
        found.append(f"nothing said: {reason}")


def _check_order(events: list[str], found: list[str]) -> None:
    if events[:3] != ["context released", "engine released", "runtime released"]:
        found.append(f"released in another order: {events}")
    if events[-1:] != ["stream destroyed"]:
        found.append(f"the stream was not the last: {events}")


def _compare(have: dict[str, np.ndarray], want: dict[str, np.ndarray], found: list[str]) -> None:
    for name, each in want.items():
        if not np.allclose(have[name], each, rtol=0, atol=1e-5 * np.abs(each).max()):
            found.append(f"wrong numbers in {name}")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(FakeGpu("NVIDIA L4", (8, 9)), FakeGpu("Orin", (8, 7), memory=3 << 20))


def prepare(
    patch: pytest.MonkeyPatch, machine: Machine, version: str, cuda: str, mutant: ModuleType | None
) -> None:
    install(patch, machine, tensorrt=version, cuda=cuda)
    if mutant is None:
        return
    name = mutant.__name__.rpartition(".")[2]
    if name == "session":
        patch.setattr("edgeyolo_tensorrt.run.session.TensorrtSession", mutant.TensorrtSession)
    elif name == "job":
        patch.setattr("edgeyolo_tensorrt.engine.builder.Job", mutant.Job)
    else:
        patch.setitem(sys.modules, mutant.__name__, mutant)


@pytest.mark.parametrize("cuda", [NEW, OLD, PYCUDA])
@pytest.mark.parametrize("version", ["8.5.3.1", "10.3.0", "11.4.0.106"])
def test_whole_code_has_no_problem(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, package: Package, version: str, cuda: str
) -> None:
    prepare(monkeypatch, machine, version, cuda, None)
    assert problems(machine, package(dynamic=True), package("jetson-trt-fp32")) == []


@pytest.mark.parametrize(
    ("change", "cuda"),
    [
        pytest.param(
            change,
            cuda,
            id=f"{change.module}: {change.wrong}, {cuda.split()[0]}",
            marks=[pytest.mark.slow] if number else [],
        )
        for change in CHANGES
        for number, cuda in enumerate(change.cuda())
    ],
)
def test_broken_code_is_noticed(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, package: Package, change: Change, cuda: str
) -> None:
    version = change.where if change.where[:1].isdigit() else "10.3.0"
    prepare(monkeypatch, machine, version, cuda, mutated(change))
    assert problems(machine, package(dynamic=True), package("jetson-trt-fp32"))


def test_there_are_changes_of_every_module() -> None:
    assert {change.module for change in CHANGES} == {
        "run.session",
        "cuda.cuda_python",
        "cuda.cuda_pycuda",
        "engine.job",
    }
    assert len(CHANGES) > 50
