"""Why the backend does not run on a machine, said before anything fails."""

from __future__ import annotations

import builtins
import re
import subprocess
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
from tensorrt_fakes.machine import FakeGpu
from tensorrt_fakes.pycuda_fake import make_pycuda
from tensorrt_fakes.scenario import Install, Package

from edgeyolo.backend import registry
from edgeyolo.errors import RuntimeMissingError
from edgeyolo_tensorrt import TensorrtBackend, library


@pytest.mark.parametrize(
    ("setting", "reason", "hint"),
    [
        ({"tensorrt": None}, "the package tensorrt is not installed", "pip install tensorrt"),
        ({"cuda": None}, "no Python package for CUDA memory is installed", "pip install cuda-python"),
        ({"driver": 0}, r"CUDA driver version is insufficient .*looking for GPUs", "nvidia-smi"),
        ({"driver": 0, "cuda": "cuda-python 12.6.0"}, r"Failed to dlopen libcuda.so.1", "nvidia-smi"),
        ({"driver": 0, "cuda": "pycuda"}, "no CUDA-capable device is detected", "nvidia-smi"),
        ({"gpus": [FakeGpu("Tesla V100", (7, 0))], "tensorrt": "10.16.1.11"}, "Volta", "tensorrt<10.5"),
        ({"gpus": [FakeGpu("Jetson Nano", (5, 3))]}, "Maxwell", "tensorrt<9.0"),
    ],
)  # fmt: skip
def test_missing_parts_are_named(device: Install, setting: dict[str, object], reason: str, hint: str) -> None:
    machine = device(*setting.pop("gpus", []), **setting)  # type: ignore[misc]
    answer = TensorrtBackend().can_run()
    assert not answer.ok
    assert re.search(reason, answer.reason)
    assert hint in answer.hint
    assert machine.left_over() == []


def test_complete_installation_is_usable(device: Install) -> None:
    machine = device()
    answer = TensorrtBackend().can_run()
    assert (answer.ok, answer.version) == (True, "10.3.0")
    assert machine.left_over() == []


def test_an_older_tensorrt_is_refused(device: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    device()
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", "8.4.1.5")
    assert TensorrtBackend().can_run().reason == "TensorRT 8.4.1.5 is too old: 8.5 or newer is needed"


def test_a_tensorrt_that_does_not_load_says_why(device: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    device()
    monkeypatch.delitem(sys.modules, "tensorrt")
    original = builtins.__import__

    def refuse(name: str, *arguments: object, **options: object) -> object:
        if name == "tensorrt":
            raise ImportError("libnvinfer.so.10: cannot open shared object file")
        return original(name, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(RuntimeMissingError, match=r"tensorrt does not load: libnvinfer\.so\.10"):
        library.load_library()


def test_pycuda_without_a_driver_says_so(
    device: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    device(cuda="pycuda")
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda/__init__.py").write_text("VERSION_TEXT = '2026.1'")
    (tmp_path / "pycuda/driver.py").write_text(
        "raise ImportError('libcuda.so.1: cannot open shared object file')"
    )
    monkeypatch.delitem(sys.modules, "pycuda")
    monkeypatch.delitem(sys.modules, "pycuda.driver")
    monkeypatch.syspath_prepend(str(tmp_path))
    answer = TensorrtBackend().can_run()
    assert answer.reason == "pycuda does not load: libcuda.so.1: cannot open shared object file"


def test_a_jetson_is_told_where_tensorrt_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "JetPack 5.1: TensorRT 8.5.2, Python 3.8" in library.install_hint()


def test_cuda_python_comes_before_pycuda(
    device: Install, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = device()
    for name, module in make_pycuda(machine).items():
        monkeypatch.setitem(sys.modules, name, module)
    with closing(registry.open_session(package())) as session:
        assert session._cuda.library == "cuda-python 13.4.4"  # type: ignore[attr-defined]


def test_a_gpu_that_is_not_there(device: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda in ("cuda-python 13.4.4", "pycuda"):
        device(cuda=cuda)
        monkeypatch.setenv("EDGEYOLO_TENSORRT_DEVICE", "3")
        assert TensorrtBackend().can_run().reason == "there is no GPU 3: this machine has 1"


def test_nothing_heavy_is_imported_to_say_that_it_does_not_run() -> None:
    code = (
        "import sys; from edgeyolo_tensorrt import TensorrtBackend as B; B().can_run(); B().can_compile();"
        "print([m for m in ('onnx', 'torch', 'tensorrt', 'pycuda', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ("[]" if find_spec("tensorrt") is None else "['tensorrt']")
