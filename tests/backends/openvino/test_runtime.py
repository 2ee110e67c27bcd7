"""OpenVINO's version and devices on this machine, as values with hints."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from types import ModuleType

import pytest

from edgeyolo.errors import RuntimeMissingError
from edgeyolo_openvino import OpenvinoBackend, OpenvinoGpuBackend, OpenvinoNcsBackend, runtime


@pytest.fixture
def sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "find_spec", lambda name: object())
    monkeypatch.setattr(runtime, "package_version", lambda name: "2026.4.1")
    monkeypatch.setattr(runtime, "devices", lambda: ("CPU", "GPU.0", "GPU.1"))


def test_asking_imports_no_runtime() -> None:
    code = (
        "import sys; from edgeyolo_openvino import *; b = OpenvinoBackend();"
        "b.can_compile(), b.can_run(), OpenvinoGpuBackend(), OpenvinoNcsBackend().can_compile();"
        "print([name for name in sys.modules if name.split('.')[0] in ('openvino', 'onnx', 'torch')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_package_is_a_value_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    for backend in (OpenvinoBackend(), OpenvinoGpuBackend(), OpenvinoNcsBackend()):
        for answer in (backend.can_compile(), backend.can_run()):
            assert not answer.ok
            assert "not installed" in answer.reason
            assert "pip install" in answer.hint


def test_2022_runs_and_does_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "find_spec", lambda name: object())
    monkeypatch.setattr(runtime, "package_version", lambda name: "2022.3.2")
    assert OpenvinoBackend().can_run().ok
    answer = OpenvinoBackend().can_compile()
    assert (answer.ok, answer.reason) == (False, "openvino 2022.3.2 is older than 2023.1")


def generation_of_2022(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An `openvino` whose `Core` lies in `openvino.runtime`, without metadata as in archive releases."""
    package, inner = ModuleType("openvino"), ModuleType("openvino.runtime")
    inner.Core, inner.get_version = object, lambda: "2022.3.1-9227-cf2c7da5689-HEAD"  # type: ignore[attr-defined]
    package.runtime = inner  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openvino", package)
    monkeypatch.setitem(sys.modules, "openvino.runtime", inner)
    return inner


def test_the_module_of_2022_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = generation_of_2022(monkeypatch)
    assert runtime.load() is inner

    def no_metadata(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(runtime, "find_spec", lambda name: object())
    monkeypatch.setattr(runtime, "package_version", no_metadata)
    assert runtime.installed().version == "2022.3.1"


def test_a_package_that_does_not_load_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeMissingError, match="does not load"):
        runtime.load()


@pytest.mark.parametrize(
    ("device", "ok"),
    [
        ("CPU", True),
        ("GPU", True),
        ("GPU.1", True),
        ("GPU.2", False),
        ("NPU", False),
        ("AUTO", True),
        ("AUTO:GPU,CPU", True),
        ("AUTO:-GPU", True),
        ("MULTI:GPU.0,NPU", False),
        ("HETERO:GPU,CPU", True),
    ],
)
def test_a_device_is_reachable_where_openvino_sees_it(sees: None, device: str, ok: bool) -> None:
    answer = runtime.reachable(device)
    assert answer.ok is ok
    assert ok or (answer.hint and "sees no device" in answer.reason)


@pytest.mark.parametrize(
    ("device", "real"),
    [
        ("CPU", ["CPU"]),
        ("AUTO", ["CPU", "GPU.0", "GPU.1"]),
        ("AUTO:-GPU", ["CPU"]),
        ("AUTO:GPU,CPU", ["GPU", "CPU"]),
        ("BATCH:GPU(16)", ["GPU"]),
    ],
)
def test_a_name_stands_for_real_devices(sees: None, device: str, real: list[str]) -> None:
    assert runtime.real_devices(device) == real


def test_the_stick_needs_its_own_host(sees: None) -> None:
    answer = OpenvinoNcsBackend().can_run()
    assert not answer.ok
    assert "2022.3 LTS" in answer.hint


def test_the_device_can_be_overridden(sees: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "devices", lambda: ("CPU",))
    assert not OpenvinoGpuBackend().can_run().ok
    monkeypatch.setenv("EDGEYOLO_OPENVINO_DEVICE", "cpu")
    assert OpenvinoGpuBackend().can_run().ok


def test_a_reason_is_the_last_that_was_said() -> None:
    text = "Exception from src/core.cpp:84:\nCheck 'false' failed at src/frontend.cpp:53:\n\nIncorrect weights!\n\n"
    assert runtime.reason(RuntimeError(text)) == "Incorrect weights!"
    assert runtime.reason(RuntimeError("")) == "RuntimeError"
