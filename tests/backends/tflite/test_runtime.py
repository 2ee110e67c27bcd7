"""Choice of the interpreter, and hints where there is none, or no edge TPU."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import textwrap
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from edgeyolo.errors import RuntimeMissingError
from edgeyolo_tflite import runtime
from edgeyolo_tflite.backend import EdgeTpuBackend, TfliteBackend

# A board's older package: the same interface under another name.
OLDER = """
from ai_edge_litert.interpreter import Interpreter, load_delegate
"""


def only(monkeypatch: pytest.MonkeyPatch, *present: str) -> None:
    """A machine on which of the two interpreter packages only `present` are installed."""

    def find_spec(name: str) -> ModuleSpec | None:
        return ModuleSpec(name, None) if name in present else None

    monkeypatch.setattr(runtime, "find_spec", find_spec)


def numpy_is(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(runtime, "np", SimpleNamespace(__version__=version))


def test_litert_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the tflite extra")
    only(monkeypatch, "ai_edge_litert", "tflite_runtime")
    assert runtime.installed().version.startswith("ai-edge-litert ")
    assert runtime.load().module.__name__ == "ai_edge_litert.interpreter"


def test_the_older_package_is_second(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the tflite extra")
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime" / "__init__.py").touch()
    (tmp_path / "tflite_runtime" / "interpreter.py").write_text(OLDER)
    monkeypatch.syspath_prepend(str(tmp_path))
    only(monkeypatch, "tflite_runtime")
    numpy_is(monkeypatch, "1.26.4")
    assert runtime.installed().ok
    loaded = runtime.load()
    assert loaded.module.__name__ == "tflite_runtime.interpreter"
    assert loaded.name.startswith("tflite-runtime")


def test_the_older_package_under_numpy_2_is_not_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    """It imports there, and ends the process when the first interpreter is made."""
    only(monkeypatch, "tflite_runtime")
    numpy_is(monkeypatch, "2.4.6")
    found = TfliteBackend().can_run()
    assert not found.ok
    assert "needs numpy 1, this is numpy 2.4.6" in found.reason
    with pytest.raises(RuntimeMissingError, match="needs numpy 1"):
        runtime.load()


def test_no_interpreter_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch)
    for backend in (TfliteBackend(), EdgeTpuBackend()):
        found = backend.can_run()
        assert not found.ok
        assert "neither of the packages ai-edge-litert and tflite-runtime" in found.reason
        assert "pip install ai-edge-litert" in found.hint


def test_an_interpreter_that_does_not_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime" / "__init__.py").write_text("raise OSError('wrong ELF class: ELFCLASS32')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tflite_runtime", raising=False)
    monkeypatch.delitem(sys.modules, "tflite_runtime.interpreter", raising=False)
    only(monkeypatch, "tflite_runtime")
    numpy_is(monkeypatch, "1.26.4")
    with pytest.raises(RuntimeMissingError, match="does not load: OSError: wrong ELF class"):
        runtime.load()


def test_the_converter_is_looked_up_package_by_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeyolo_tflite import toolkit

    monkeypatch.setattr(toolkit, "find_spec", lambda name: None if name == "ai_edge_quantizer" else object())
    monkeypatch.setattr(toolkit, "version", lambda package: "1.0")
    assert TfliteBackend().can_compile().ok
    found = EdgeTpuBackend().can_compile()
    assert not found.ok
    assert found.reason == "the package ai-edge-quantizer is not installed"


def test_creating_a_backend_imports_no_runtime() -> None:
    code = """
        import sys
        from edgeyolo_tflite import EdgeTpuBackend, TfliteBackend
        TfliteBackend().can_run(), TfliteBackend().can_compile(), EdgeTpuBackend().can_compile()
        print({"torch", "ai_edge_litert", "litert_torch", "tflite_runtime"} & set(sys.modules))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("platform", "library"),
    [("linux", "libedgetpu.so.1"), ("darwin", "libedgetpu.1.dylib"), ("win32", "edgetpu.dll")],
)
def test_the_edge_tpus_library_by_system(
    monkeypatch: pytest.MonkeyPatch, platform: str, library: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert runtime.edge_tpu_library() == library


@pytest.mark.parametrize(
    ("wanted", "options"), [("", {}), ("usb", {"device": "usb"}), ("pci:1", {"device": "pci:1"})]
)
def test_a_device_is_chosen(
    fake: ModuleType, monkeypatch: pytest.MonkeyPatch, wanted: str, options: dict[str, str]
) -> None:
    monkeypatch.setenv(runtime.DEVICE_VARIABLE, wanted)
    fake.install(monkeypatch, runtime, devices=("usb", "pci", "pci"))
    assert runtime.edge_tpu_delegate(runtime.load()).options == options


def test_a_device_that_is_not_there(fake: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(runtime.DEVICE_VARIABLE, "pci:2")
    fake.install(monkeypatch, runtime, devices=("usb", "pci", "pci"))
    with pytest.raises(RuntimeMissingError, match=r"finds no edge TPU 'pci:2'\nPlug it in"):
        runtime.edge_tpu_delegate(runtime.load())


def test_the_device_is_closed_when_it_was_only_asked_for(
    fake: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = fake.install(monkeypatch, runtime)
    assert EdgeTpuBackend().can_run().ok
    gc.collect()
    assert module.log == ["device opened {}", "device closed"]


def test_a_library_that_is_not_there() -> None:
    """With the real loader: this machine has no edge TPU."""
    pytest.importorskip("ai_edge_litert", reason="needs the tflite extra")
    if runtime.edge_tpu().ok:
        pytest.skip("this machine has an edge TPU")
    with pytest.raises(RuntimeMissingError, match="libedgetpu"):
        runtime.edge_tpu_delegate(runtime.load())
    found = EdgeTpuBackend().can_run()
    assert not found.ok
    assert "libedgetpu" in found.reason


# libedgetpu on a machine without a device: it returns no delegate and calls no error handler.
WITHOUT_DEVICE = """
#include <stddef.h>
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
    return NULL;
}
void tflite_plugin_destroy_delegate(void *delegate) {}
"""


@pytest.mark.skipif(
    shutil.which("cc") is None or not sys.platform.startswith("linux"), reason="needs a C compiler on Linux"
)
def test_a_real_library_without_a_device(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the tflite extra")
    (tmp_path / "plugin.c").write_text(WITHOUT_DEVICE)
    library = tmp_path / "libedgetpu.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "plugin.c"], check=True)
    code = """
        from edgeyolo_tflite import EdgeTpuBackend
        found = EdgeTpuBackend().can_run()
        print(found.ok, found.reason, found.hint, sep="|")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path)},
    )
    ok, reason, hint = done.stdout.strip().split("|")
    assert (ok, reason) == ("False", "libedgetpu.so.1 finds no edge TPU")
    assert "Plug it in" in hint
