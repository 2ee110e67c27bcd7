"""The interpreter package, and the library that reaches an edge TPU.

Any of the packages will do.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np

from edgeyolo.backend.interface import Availability
from edgeyolo.errors import RuntimeMissingError

# Module -> the package that brings it. The older one is the last for boards that stay on Python 3.11 or earlier.
PACKAGES = {"ai_edge_litert": "ai-edge-litert", "tflite_runtime": "tflite-runtime"}
INSTALL = "pip install ai-edge-litert"
DEVICE_VARIABLE = "EDGEYOLO_EDGETPU_DEVICE"
VARIABLES = {DEVICE_VARIABLE: "one of several edge TPUs, as libedgetpu names them: usb, pci:1, :0"}

_LIBRARIES = {"darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"}  # elsewhere libedgetpu.so.1
_GET_LIBRARY = (
    "Install the edge TPU runtime: `apt install libedgetpu1-std` from Coral's package source, or a build of "
    "https://github.com/google-coral/libedgetpu."
)


def installed() -> Availability:
    """Availability of an interpreter, without importing it."""
    for module, package in PACKAGES.items():
        if find_spec(module) is None:
            continue
        found = _version(package)
        if module == "tflite_runtime" and int(np.__version__.split(".")[0]) >= 2:
            return Availability(
                False,
                f"tflite-runtime {found} needs numpy 1, this is numpy {np.__version__}",
                f"{INSTALL}, or an environment of its own with `numpy<2`.",
                found,
            )
        return Availability(True, version=f"{package} {found}")
    return Availability(
        False, "neither of the packages ai-edge-litert and tflite-runtime is installed", INSTALL
    )


@dataclass(frozen=True)
class Runtime:
    """A loaded interpreter package: `module` has `Interpreter` and `load_delegate`."""

    module: Any
    name: str

    def interpreter(self, path: str, *, threads: int, delegates: tuple[Any, ...] = ()) -> Any:
        """A new interpreter of the file; it holds its delegates as long as it lives."""
        return self.module.Interpreter(
            model_path=path, num_threads=threads, experimental_delegates=list(delegates) or None
        )


def load() -> Runtime:
    """The first interpreter package that is installed.

    RuntimeMissingError where none loads.
    """
    found = installed()
    if not found.ok:
        raise RuntimeMissingError(found.reason, hint=found.hint)
    module = next(module for module in PACKAGES if find_spec(module) is not None)
    try:
        return Runtime(importlib.import_module(f"{module}.interpreter"), found.version)
    except Exception as error:  # a native part for another system shows as any kind of error
        raise RuntimeMissingError(
            f"{found.version} does not load: {type(error).__name__}: {error}", hint=INSTALL
        ) from error


def edge_tpu(device: str = "") -> Availability:
    """Availability of an edge TPU.

    It is opened for that, and closed again.
    """
    try:
        _require_library()  # the usual answer is no, and costs no import
        loaded = load()
        edge_tpu_delegate(loaded, device)
    except RuntimeMissingError as error:
        return Availability(False, error.message, error.hint)
    return Availability(True, version=loaded.name)


def edge_tpu_library() -> str:
    """Name of the edge TPU's library on this system."""
    return _LIBRARIES.get(sys.platform, "libedgetpu.so.1")


def edge_tpu_delegate(runtime: Runtime, device: str = "") -> Any:
    """Open an edge TPU.

    `device`, else the one that EDGEYOLO_EDGETPU_DEVICE names ("usb", "pci:1", ":0" ...), else any.

    Raises RuntimeMissingError where the library is not installed or finds no such device.
    """
    _require_library()
    library, device = edge_tpu_library(), device or os.environ.get(DEVICE_VARIABLE, "")
    try:
        return runtime.module.load_delegate(library, {"device": device} if device else {})
    except ValueError as error:  # the library is here and gives no device; its message is empty
        wanted = f"no edge TPU {device!r}" if device else "no edge TPU"
        raise RuntimeMissingError(
            f"{library} finds {wanted}",
            hint="Plug it in, and give this user access to it (udev rules of libedgetpu, group plugdev or apex). "
            f"{DEVICE_VARIABLE} chooses among several.",
        ) from error


def _require_library() -> None:
    # `load_delegate` fails for this too, but leaves half an object whose end prints a traceback.
    try:
        ctypes.CDLL(edge_tpu_library())
    except OSError as error:
        raise RuntimeMissingError(
            f"{edge_tpu_library()} does not load: {error}", hint=_GET_LIBRARY
        ) from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # boards carry builds without metadata
        return ""
