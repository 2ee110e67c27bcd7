"""Stand-ins for the parts of a machine with a Coral edge TPU.

`compile_graph` is what edgetpu_compiler does to a file; `Module` is `ai_edge_litert.interpreter` on a machine where
libedgetpu is installed. Both fail as the real ones do: an interpreter without the delegate meets an unknown custom
operator, a library that is not there is an OSError, one without a device a ValueError without words.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

OPERATOR = "edgetpu-custom-op"
OPTIONS = {
    "device",
    "Performance",
    "Usb.AlwaysDfu",
    "Usb.MaxBulkInQueueLength",
}  # libedgetpu's plugin takes these


def compile_graph(data: bytes) -> bytes:
    """The same inputs and outputs around one custom operator, without signatures, which the compiler drops."""
    from ai_edge_litert import schema_py_generated as schema

    from edgeyolo_tflite import flatbuffer

    model = flatbuffer.read(data)
    graph = model.subgraphs[0]
    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = OPERATOR
    ends = flatbuffer.tensors(model, [*graph.inputs, *graph.outputs])
    for tensor in ends:
        tensor.buffer = 0
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], list(range(1, len(ends)))
    graph.tensors, graph.operators = ends, [operator]
    graph.inputs, graph.outputs = [0], operator.outputs
    model.operatorCodes, model.buffers = [code], [schema.BufferT()]
    model.signatureDefs, model.metadata = None, None
    return flatbuffer.write(model)


class Delegate:
    """An open device. Using it after `closed` is what crashes with the real library."""

    def __init__(self, options: dict[str, str], log: list[str]) -> None:
        self.options, self.log, self.closed = options, log, False

    def __del__(self) -> None:
        self.closed = True
        self.log.append("device closed")


def install(monkeypatch: Any, runtime: Any, devices: tuple[str, ...] | None = ("usb",)) -> Module:
    """Give `edgeyolo_tflite.runtime` this machine instead of its own."""
    module = Module(devices)
    monkeypatch.setattr(runtime, "load", lambda: runtime.Runtime(module, "fake"))
    monkeypatch.setattr(runtime, "ctypes", SimpleNamespace(CDLL=module.open_library))
    return module


class Module:
    """`ai_edge_litert.interpreter` with `devices` edge TPUs, or without the library where it is None."""

    def __init__(self, devices: tuple[str, ...] | None = ("usb",)) -> None:
        self.devices, self.log = devices, []
        self.threads: list[int] = []

    def open_library(self, library: str) -> None:
        if self.devices is None or not library.startswith("libedgetpu"):
            raise OSError(f"{library}: cannot open shared object file: No such file or directory")

    def load_delegate(self, library: str, options: dict[str, str] | None = None) -> Delegate:
        options = options or {}
        assert set(options) <= OPTIONS
        self.open_library(library)
        wanted = options.get("device", "")
        kind, _, index = wanted.partition(":")
        found = [each for each in self.devices if not kind or each == kind]
        if int(index or 0) >= len(found):
            raise ValueError(f"Failed to load delegate from {library}\n")
        self.log.append(f"device opened {options}")
        return Delegate(options, self.log)

    def Interpreter(self, *args: Any, **kwargs: Any) -> Interpreter:  # noqa: N802 - a class over there
        return Interpreter(self, *args, **kwargs)


class Interpreter:
    """Runs `<name>_edgetpu.tflite` by running `<name>.tflite` beside it on the CPU."""

    def __init__(
        self, module: Module, model_path: str, num_threads: int, experimental_delegates: list[Delegate] | None
    ) -> None:
        from ai_edge_litert.interpreter import Interpreter as Real

        self._module, self._delegates = module, experimental_delegates or []
        self._compiled = OPERATOR.encode() in Path(model_path).read_bytes()
        behind = model_path.replace("_edgetpu.tflite", ".tflite") if self._compiled else model_path
        self._real = Real(model_path=behind, num_threads=num_threads)
        self._allocated, self._busy = False, threading.Lock()
        module.threads.append(num_threads)
        module.log.append(f"interpreter {Path(model_path).name}")

    def allocate_tensors(self) -> None:
        if self._compiled and not self._delegates:
            raise RuntimeError(
                f"Encountered unresolved custom op: {OPERATOR}.Node number 0 failed to prepare."
            )
        self._real.allocate_tensors()
        self._allocated = True

    def get_input_details(self) -> list[dict[str, Any]]:
        return self._real.get_input_details()

    def get_output_details(self) -> list[dict[str, Any]]:
        return self._real.get_output_details()

    def set_tensor(self, index: int, value: Any) -> None:
        with self._alone():
            self._real.set_tensor(index, value)

    def invoke(self) -> None:
        with self._alone():
            self._real.invoke()

    def get_tensor(self, index: int) -> Any:
        with self._alone():
            return self._real.get_tensor(index)

    def __del__(self) -> None:
        self._module.log.append("interpreter released")

    def _alone(self) -> threading.Lock:
        assert self._allocated, "allocate_tensors comes first"
        assert not any(each.closed for each in self._delegates), "the device is closed"
        assert not self._busy.locked(), "another thread is inside the interpreter"
        return self._busy
