# ruff: noqa: N801, N802, N816 - the names are cuda-python's
"""cuda-python over a simulated machine: every function gives a tuple with an error code first, as the real ones do."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import IntEnum
from types import ModuleType
from typing import Any

from tensorrt_fakes import machine as m
from tensorrt_fakes.surface import CUDA_PYTHON


class Handle:
    """cudaStream_t and its like: objects around a number."""

    def __init__(self, number: int = 0) -> None:
        self._number = number

    def __int__(self) -> int:
        return self._number

    def getPtr(self) -> int:
        return self._number


class cudaStream_t(Handle): ...


class cudaGraph_t(Handle): ...


class cudaGraphExec_t(Handle): ...


class cudaDeviceProp:
    def __init__(self, gpu: m.FakeGpu) -> None:
        self.name = gpu.name.encode().ljust(256, b"\0")
        self.major, self.minor = gpu.compute_capability
        self.totalGlobalMem = gpu.memory


cudaError_t = IntEnum("cudaError_t", {name: code for code, (name, _) in m.MESSAGES.items()})
cudaMemcpyKind = IntEnum("cudaMemcpyKind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2})
cudaStreamCaptureMode = IntEnum("cudaStreamCaptureMode", {"cudaStreamCaptureModeThreadLocal": 1})


class Runtime:
    """The functions, by their own names and with their own argument names."""

    def __init__(self, machine: m.Machine, *, raises_without_driver: bool) -> None:
        self._machine, self._raises = machine, raises_without_driver

    def _call(self, function: Callable[..., Any], *arguments: Any, results: int = 1) -> tuple[Any, ...]:
        if not self._machine.driver:
            if self._raises:
                raise RuntimeError("Failed to dlopen libcuda.so.1")
            return (cudaError_t(m.NO_DRIVER), *[None] * results)
        with self._machine.lock:
            try:
                value = function(*arguments)
            except m.CudaError as error:
                return (cudaError_t(error.code), *[None] * results)
        return (cudaError_t(0), value) if results else (cudaError_t(0),)

    def cudaGetDeviceCount(self) -> Any:
        return self._call(lambda: len(self._machine.gpus))

    def cudaSetDevice(self, device: int) -> Any:
        return self._call(self._machine.set_device, device, results=0)

    def cudaGetDeviceProperties(self, device: int) -> Any:
        return self._call(lambda: cudaDeviceProp(self._machine.gpus[device]))

    def cudaDriverGetVersion(self) -> Any:
        return self._call(lambda: self._machine.driver)

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        return self._call(lambda: cudaStream_t(self._machine.make_stream()))

    def cudaStreamDestroy(self, stream: Any) -> Any:
        return self._call(self._machine.destroy_stream, int(stream), results=0)

    def cudaStreamSynchronize(self, stream: Any) -> Any:
        time.sleep(self._machine.wait_s)
        return self._call(self._machine.synchronize, int(stream), results=0)

    def cudaMalloc(self, size: int) -> Any:
        return self._call(self._machine.malloc, size)

    def cudaFree(self, devPtr: Any) -> Any:
        return self._call(self._machine.free, int(devPtr), results=0)

    def cudaHostAlloc(self, size: int, flags: int) -> Any:
        return self._call(self._machine.host_alloc, size)

    def cudaFreeHost(self, ptr: Any) -> Any:
        return self._call(self._machine.host_free, int(ptr), results=0)

    def cudaMemcpyAsync(self, dst: Any, src: Any, count: int, kind: Any, stream: Any) -> Any:
        if not isinstance(kind, cudaMemcpyKind):
            raise TypeError(f"Argument 'kind' is not instance of 'cudaMemcpyKind': {kind!r}")
        return self._call(self._machine.copy, int(dst), int(src), count, int(kind), int(stream), results=0)

    def cudaGetErrorName(self, error: Any) -> Any:
        return cudaError_t(0), m.MESSAGES[int(error)][0].encode()

    def cudaGetErrorString(self, error: Any) -> Any:
        return cudaError_t(0), m.MESSAGES[int(error)][1].encode()

    def cudaGetLastError(self) -> Any:
        return (cudaError_t(self._machine.sticky),)

    def cudaStreamBeginCapture(self, stream: Any, mode: Any) -> Any:
        if not isinstance(mode, cudaStreamCaptureMode):
            raise TypeError("Argument 'mode' is not instance of 'cudaStreamCaptureMode'")
        return self._call(self._machine.begin_capture, int(stream), results=0)

    def cudaStreamEndCapture(self, stream: Any) -> Any:
        return self._call(lambda: cudaGraph_t(self._machine.end_capture(int(stream))))

    def cudaGraphInstantiateWithFlags(self, graph: Any, flags: int) -> Any:
        return self._call(lambda: cudaGraphExec_t(self._machine.instantiate(int(graph))))

    def cudaGraphLaunch(self, graphExec: Any, stream: Any) -> Any:
        return self._call(self._machine.launch, int(graphExec), int(stream), results=0)

    def cudaGraphExecDestroy(self, graphExec: Any) -> Any:
        return self._call(self._machine.executables.pop, int(graphExec), results=0)

    def cudaGraphDestroy(self, graph: Any) -> Any:
        return self._call(self._machine.graphs.pop, int(graph), results=0)


def make_cuda_python(machine: m.Machine, version: str) -> dict[str, ModuleType]:
    """The modules of that cuda-python version, by name; up to 12.6 `cuda.cudart`, then `cuda.bindings.runtime`."""
    name = CUDA_PYTHON[version]["module"]
    old = name == "cuda.cudart"
    functions = Runtime(machine, raises_without_driver=old or version.startswith("11."))
    runtime = ModuleType(name)
    runtime.__package__ = name.rpartition(".")[0]
    for each in CUDA_PYTHON[version]["functions"]:
        if hasattr(functions, each):
            setattr(runtime, each, getattr(functions, each))
    runtime.cudaStreamNonBlocking, runtime.cudaHostAllocDefault = 1, 0  # type: ignore[attr-defined]
    for kind in (cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode):
        setattr(runtime, kind.__name__, kind)
    modules = {"cuda": ModuleType("cuda"), name: runtime}
    if not old:
        modules["cuda.bindings"] = ModuleType("cuda.bindings")
    for each, module in modules.items():
        if each != name:
            module.__path__ = []  # type: ignore[attr-defined]
    modules[runtime.__package__].__version__ = version  # type: ignore[attr-defined]
    return modules
