"""pycuda over a simulated machine: exceptions instead of codes, and a stack of contexts for every thread.

Names, arguments and behaviour follow src/wrapper/wrap_cudadrv.cpp and src/cpp/cuda.hpp of pycuda 2026.1.
"""

from __future__ import annotations

import ctypes
import time
from types import ModuleType
from typing import Any

import numpy as np
from tensorrt_fakes import machine as m


def make_pycuda(machine: m.Machine) -> dict[str, ModuleType]:
    class Error(Exception): ...

    class MemoryError(Error): ...

    class LogicError(Error): ...

    class LaunchError(Error): ...

    class RuntimeError(Error): ...

    state = {"initialized": False}

    def call(what: str, function: Any, *arguments: Any) -> Any:
        if not machine.driver:
            raise RuntimeError(f"{what} failed: no CUDA-capable device is detected")
        if not state["initialized"]:
            raise LogicError(f"{what} failed: initialization error")
        with machine.lock:
            try:
                return function(*arguments)
            except m.CudaError as error:
                kind = {m.OUT_OF_MEMORY: MemoryError, m.ILLEGAL_ADDRESS: LaunchError}.get(
                    error.code, LogicError
                )
                raise kind(f"{what} failed: {m.MESSAGES[error.code][1]}") from error

    def in_context(what: str, function: Any, *arguments: Any) -> Any:
        if state["initialized"] and not machine.stack():
            raise LogicError(f"{what} failed: invalid device context")
        return call(what, function, *arguments)

    def init(flags: int = 0) -> None:
        if not machine.driver:
            raise RuntimeError("cuInit failed: no CUDA-capable device is detected")
        state["initialized"] = True

    class Context:
        def __init__(self, device: int) -> None:
            self._device = device

        def push(self) -> None:
            call("cuCtxPushCurrent", machine.stack().append, self._device)

        @staticmethod
        def pop() -> None:
            if not machine.stack():
                raise LogicError("context::pop failed: cannot pop non-current context")
            machine.stack().pop()

        def detach(self) -> None:
            machine.violate("a primary context detached: pycuda leaves it on the thread's stack")

    class Device:
        def __init__(self, index: int) -> None:
            self._index = index
            self._gpu = machine.gpus[index]

        @staticmethod
        def count() -> int:
            return call("cuDeviceGetCount", lambda: len(machine.gpus))

        def name(self) -> str:
            return self._gpu.name

        def compute_capability(self) -> tuple[int, int]:
            return self._gpu.compute_capability

        def total_memory(self) -> int:
            return self._gpu.memory

        def retain_primary_context(self) -> Context:
            return Context(self._index)

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            self.handle = in_context("cuStreamCreate", machine.make_stream)

        def synchronize(self) -> Stream:
            time.sleep(machine.wait_s)
            in_context("cuStreamSynchronize", machine.synchronize, self.handle)
            return self

        def __del__(self) -> None:
            if not machine.stack():
                machine.violate("a stream destroyed in no context")
            elif not machine.sticky:
                machine.destroy_stream(self.handle)

    class DeviceAllocation:
        def __init__(self, address: int) -> None:
            self._address = address

        def __int__(self) -> int:
            return self._address

        __index__ = __int__

        def free(self) -> None:
            in_context("cuMemFree", machine.free, self._address)

    class PagelockedHostAllocation:
        def __init__(self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
            self._address = address
            self.__array_interface__ = {
                "shape": shape,
                "typestr": dtype.str,
                "data": (address, False),
                "version": 3,
            }

        def free(self) -> None:
            in_context("cuMemFreeHost", machine.host_free, self._address)

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray:
        sides = (shape,) if isinstance(shape, int) else tuple(shape)
        kind = np.dtype(dtype)
        address = in_context("cuMemHostAlloc", machine.host_alloc, int(np.prod(sides)) * kind.itemsize)
        return np.asarray(PagelockedHostAllocation(address, sides, kind))

    def mem_alloc(bytes: int) -> DeviceAllocation:
        return DeviceAllocation(in_context("cuMemAlloc", machine.malloc, bytes))

    def _buffer(array: Any) -> tuple[int, int]:
        if not array.flags.c_contiguous:
            raise ValueError("ndarray is not contiguous")
        return array.ctypes.data_as(ctypes.c_void_p).value, array.nbytes

    def memcpy_htod_async(dest: Any, src: Any, stream: Any = None) -> None:
        address, nbytes = _buffer(src)
        handle = 0 if stream is None else stream.handle
        in_context("cuMemcpyHtoDAsync", machine.copy, int(dest), address, nbytes, m.TO_GPU, handle)

    def memcpy_dtoh_async(dest: Any, src: Any, stream: Any = None) -> None:
        address, nbytes = _buffer(dest)
        handle = 0 if stream is None else stream.handle
        in_context("cuMemcpyDtoHAsync", machine.copy, address, int(src), nbytes, m.TO_HOST, handle)

    def get_driver_version() -> int:
        return machine.driver

    package, driver = ModuleType("pycuda"), ModuleType("pycuda.driver")
    package.__path__ = []  # type: ignore[attr-defined]
    package.VERSION_TEXT = "2026.1"  # type: ignore[attr-defined]
    package.driver = driver  # type: ignore[attr-defined]
    for each in (
        Error, MemoryError, LogicError, LaunchError, RuntimeError, Context, Device, Stream, DeviceAllocation,
        PagelockedHostAllocation, init, pagelocked_empty, mem_alloc, memcpy_htod_async, memcpy_dtoh_async,
        get_driver_version,
    ):  # fmt: skip
        setattr(driver, each.__name__, each)
    return {"pycuda": package, "pycuda.driver": driver}
