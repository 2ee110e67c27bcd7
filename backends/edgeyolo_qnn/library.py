"""The packages, the provider's library, and the devices that it finds."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgeyolo.backend.interface import Availability
from edgeyolo.backend.versions import numbers
from edgeyolo.errors import DamagedFileError, RuntimeMissingError
from edgeyolo.support.install import install_hint

if TYPE_CHECKING:
    import onnxruntime as ort

    from edgeyolo_qnn.chips import Chip

PACKAGE, PROVIDER = "onnxruntime-qnn", "QNNExecutionProvider"
OLDEST = (1, 24, 2)  # ONNX Runtime's first version that takes providers as plug-ins of this kind
_EMULATES = ("x86_64", "amd64")
_OUTPUT = Lock()  # of the process's own streams: there is one of each


def installed() -> Availability:
    """Availability of ONNX Runtime and Qualcomm's provider.

    They are looked up, not imported.
    """
    for module, package in (("onnxruntime", "onnxruntime"), ("onnxruntime_qnn", PACKAGE)):
        if find_spec(module) is None:
            return Availability(
                False, f"the package {package} is not installed{_no_wheel()}", install_hint("qnn")
            )
    found = version("onnxruntime")
    if numbers(found) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return Availability(
            False,
            f"onnxruntime {found} is installed, the provider needs {wanted} or newer",
            f"pip install 'onnxruntime>={wanted}'",
        )
    return Availability(True, version=version(PACKAGE))


def emulates(machine: str = platform.machine()) -> bool:
    """Return True if the provider can compile and emulate on this processor."""
    return machine.lower() in _EMULATES


def npu() -> Availability:
    """Availability of a Hexagon NPU in this machine.

    There is none beside an x86 processor; elsewhere the provider is asked.
    """
    found = installed()
    if not found.ok:
        return found
    hint = "Copy the artifact to the device (docs/targets/qualcomm.md); here its emulator compares exports."
    if emulates():
        return Availability(False, "there is no Hexagon NPU in an x86 machine", hint)
    if _device(npu_only=True) is None:
        return Availability(False, "the provider finds no Hexagon NPU in this machine", hint)
    return found


def options(chip: Chip | None) -> dict[str, str]:
    """Options of the provider.

    They are the HTP and, to compile, float16 for floats and the chip.

    What is compiled already has them in it: None.
    """
    import onnxruntime_qnn

    found = {"backend_path": onnxruntime_qnn.get_qnn_htp_path()}
    if chip is not None:
        found |= {"enable_htp_fp16_precision": "1", "htp_arch": str(chip.arch), "soc_model": str(chip.model)}
    return found


def load(path: Path) -> ort.InferenceSession:
    """A compiled network on the Hexagon NPU, or on its emulator.

    DamagedFileError where it does not load.
    """
    import onnxruntime as ort

    with _silent():
        try:
            return session(str(path), options(None))
        except Exception as error:  # noqa: BLE001  ONNX Runtime's own exceptions share no other base class
            failed = error
    raise DamagedFileError(
        f"{path}: ONNX Runtime {ort.__version__} with {PACKAGE} {version(PACKAGE)} cannot load it: {failed}"
    ) from failed


def session(
    model: str | bytes, provider: Mapping[str, str], settings: Mapping[str, str] = MappingProxyType({})
) -> ort.InferenceSession:
    """ONNX Runtime's session with the provider alone.

    Nothing falls back to the processor unseen.
    """
    import onnxruntime as ort

    made = ort.SessionOptions()
    made.log_severity_level = 3
    made.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    for key, value in settings.items():
        made.add_session_config_entry(key, value)
    device = _device()
    if device is None:
        raise RuntimeMissingError(
            "Qualcomm's provider finds no device that it runs on", hint="`edgeyolo doctor` says more."
        )
    made.add_provider_for_devices([device], dict(provider))
    return ort.InferenceSession(model, made)


def _device(npu_only: bool = False) -> Any:
    """ONNX Runtime's handle of the NPU, else of the processor that emulates it.

    None where there is neither.
    """
    import onnxruntime as ort

    _register()
    kinds = ort.OrtHardwareDeviceType
    ours = [each for each in ort.get_ep_devices() if each.ep_name == PROVIDER]
    for kind in (kinds.NPU,) if npu_only else (kinds.NPU, kinds.CPU):
        for each in ours:
            if each.device.type == kind:
                return each
    return None


@cache
def _register() -> None:
    import onnxruntime as ort
    import onnxruntime_qnn

    if all(
        each.ep_name != PROVIDER for each in ort.get_ep_devices()
    ):  # another program's code may have done it
        ort.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())


def _no_wheel() -> str:
    if sys.platform == "darwin":
        return "; there is no wheel of it for macOS"
    if sys.version_info < (3, 11):
        return "; its wheels are for Python 3.11 and newer"
    if sys.platform == "linux" and not emulates():
        return "; for Linux the index has it for x86-64 only, makers of boards have their own"
    return ""


@contextmanager
def _silent() -> Iterator[None]:
    """Drop what native code writes to standard output and error.

    Qualcomm's library greets on standard output, which belongs to results.
    """
    with _OUTPUT, Path(os.devnull).open("wb") as nothing:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        kept = {number: os.dup(number) for number in (1, 2) if _is_open(number)}
        try:
            for number in kept:
                os.dup2(nothing.fileno(), number)
            yield
        finally:
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
