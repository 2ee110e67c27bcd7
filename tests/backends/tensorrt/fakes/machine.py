"""A machine with NVIDIA GPUs, simulated: memory in an address space of its own, streams that do their work late.

What real hardware lets pass now and then is a violation here, always: an asynchronous copy from memory that is not
page-locked, a buffer freed while the stream may use it, a GPU reading what nobody wrote, one execution context used by
two threads at once. Work put onto a stream happens when somebody waits for that stream, never before, so results read
early are visibly not there.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, NO_DRIVER = 0, 1, 2, 35
NO_DEVICE, INVALID_DEVICE, INVALID_HANDLE, ILLEGAL_ADDRESS = 100, 101, 400, 700
CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED = 900, 901
MESSAGES = {
    SUCCESS: ("cudaSuccess", "no error"),
    INVALID_VALUE: ("cudaErrorInvalidValue", "invalid argument"),
    OUT_OF_MEMORY: ("cudaErrorMemoryAllocation", "out of memory"),
    NO_DRIVER: (
        "cudaErrorInsufficientDriver",
        "CUDA driver version is insufficient for CUDA runtime version",
    ),
    NO_DEVICE: ("cudaErrorNoDevice", "no CUDA-capable device is detected"),
    INVALID_DEVICE: ("cudaErrorInvalidDevice", "invalid device ordinal"),
    INVALID_HANDLE: ("cudaErrorInvalidResourceHandle", "invalid resource handle"),
    ILLEGAL_ADDRESS: ("cudaErrorIllegalAddress", "an illegal memory access was encountered"),
    CAPTURE_UNSUPPORTED: (
        "cudaErrorStreamCaptureUnsupported",
        "operation not permitted when stream is capturing",
    ),
    CAPTURE_INVALIDATED: (
        "cudaErrorStreamCaptureInvalidated",
        "operation failed due to a previous error during capture",
    ),
}
TO_GPU, TO_HOST = 1, 2
Work = Callable[[], None]


class CudaError(Exception):
    """A CUDA call that fails, with its code."""

    def __init__(self, code: int) -> None:
        super().__init__(MESSAGES[code][1])
        self.code = code


@dataclass
class FakeGpu:
    name: str = "Orin"
    compute_capability: tuple[int, int] = (8, 7)
    memory: int = 8 << 30
    dla_cores: int = 2
    used: int = 0


@dataclass
class Allocation:
    gpu: int
    address: int
    data: bytearray
    written: np.ndarray


@dataclass
class Stream:
    gpu: int
    queue: list[Work] = field(default_factory=list)
    capture: list[Work] | None = None
    invalidated: bool = False


class Machine:
    def __init__(self, *gpus: FakeGpu, driver: int = 12060) -> None:
        self.gpus, self.driver = gpus or (FakeGpu(),), driver
        self.violations: list[str] = []
        self.events: list[str] = []
        self.sticky = SUCCESS
        self.streams: dict[int, Stream] = {}
        self.allocations: dict[int, Allocation] = {}
        self.pinned: dict[int, ctypes.Array] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.executables: dict[int, list[Work]] = {}
        self._graveyard: list[ctypes.Array] = []  # freed page-locked memory stays mapped, poisoned
        self._numbers = iter(range(0x5000, 1 << 40, 0x10))
        self._next_address = 0x7F00_0000_0000
        self._thread = threading.local()
        self.lock = threading.RLock()
        self.recordable = True  # False: the network holds a layer that cannot be captured
        self.executable = True  # False: TensorRT refuses to run
        self.step_s = 0.0  # how long a step of a build takes
        self.wait_s = 0.0  # how long waiting for a stream takes
        self.build_error = ""  # TensorRT's words for a build that fails
        self.logger: object = None  # TensorRT's one logger

    def violate(self, text: str) -> None:
        self.violations.append(text)

    # Which GPU a thread works on: the context on top of its stack, or what it set, or number 0.

    def stack(self) -> list[int]:
        if not hasattr(self._thread, "stack"):
            self._thread.stack, self._thread.device = [], 0
        return self._thread.stack

    def set_device(self, index: int) -> None:
        self.check()
        if not 0 <= index < len(self.gpus):
            raise CudaError(INVALID_DEVICE)
        self.stack()
        self._thread.device = index

    def current(self) -> int:
        stack = self.stack()
        return stack[-1] if stack else self._thread.device

    def check(self) -> None:
        if self.sticky:
            raise CudaError(self.sticky)

    # Memory

    def malloc(self, nbytes: int) -> int:
        self.check()
        self._refuse_while_capturing()
        gpu = self.gpus[self.current()]
        if nbytes <= 0:
            raise CudaError(INVALID_VALUE)
        if gpu.used + nbytes > gpu.memory:
            raise CudaError(OUT_OF_MEMORY)
        gpu.used += nbytes
        address = self._next_address
        self._next_address += (nbytes + 0xFFFFF) & ~0xFFFF  # a gap behind each, so that overruns hit nothing
        data = bytearray(b"\xcd" * nbytes)
        self.allocations[address] = Allocation(self.current(), address, data, np.zeros(nbytes, bool))
        return address

    def free(self, address: int) -> None:
        self.check()
        if address not in self.allocations:
            self.violate(f"GPU memory {address:#x} freed that is not allocated")
            raise CudaError(INVALID_VALUE)
        self._refuse_while_busy("GPU memory")
        gone = self.allocations.pop(address)
        self.gpus[gone.gpu].used -= len(gone.data)
        self.events.append("free gpu")

    def host_alloc(self, nbytes: int) -> int:
        self.check()
        self._refuse_while_capturing()
        if nbytes <= 0:
            raise CudaError(INVALID_VALUE)
        room = (ctypes.c_uint8 * nbytes)()
        ctypes.memset(room, 0xCD, nbytes)
        self.pinned[ctypes.addressof(room)] = room
        return ctypes.addressof(room)

    def host_free(self, address: int) -> None:
        self.check()
        if address not in self.pinned:
            self.violate(f"host memory {address:#x} freed that is not page-locked")
            raise CudaError(INVALID_VALUE)
        self._refuse_while_busy("page-locked memory")
        room = self.pinned.pop(address)
        ctypes.memset(room, 0xDD, len(room))
        self._graveyard.append(room)
        self.events.append("free host")

    def _refuse_while_busy(self, what: str) -> None:
        if any(stream.queue for stream in self.streams.values()):
            self.violate(f"{what} freed while work is waiting on a stream")

    def _refuse_while_capturing(self) -> None:
        for stream in self.streams.values():
            if stream.capture is not None:
                stream.invalidated = True
                raise CudaError(CAPTURE_UNSUPPORTED)

    def _find(self, address: int, nbytes: int) -> tuple[Allocation, int] | None:
        for each in self.allocations.values():
            if each.address <= address and address + nbytes <= each.address + len(each.data):
                return each, address - each.address
        return None

    def read(self, address: int, nbytes: int, who: str) -> bytes:
        """GPU memory as a kernel or a copy reads it."""
        found = self._find(address, nbytes)
        if found is None:
            raise CudaError(ILLEGAL_ADDRESS)
        memory, start = found
        if not memory.written[start : start + nbytes].all():
            self.violate(f"{who} reads GPU memory that nobody wrote")
        return bytes(memory.data[start : start + nbytes])

    def write(self, address: int, data: bytes) -> None:
        found = self._find(address, len(data))
        if found is None:
            raise CudaError(ILLEGAL_ADDRESS)
        memory, start = found
        memory.data[start : start + len(data)] = data
        memory.written[start : start + len(data)] = True

    # Streams

    def make_stream(self) -> int:
        self.check()
        handle = next(self._numbers)
        self.streams[handle] = Stream(self.current())
        return handle

    def stream(self, handle: int) -> Stream:
        if handle not in self.streams:
            raise CudaError(INVALID_HANDLE)
        return self.streams[handle]

    def destroy_stream(self, handle: int) -> None:
        self.check()
        if self.stream(handle).queue:
            self.violate("a stream destroyed while work is waiting on it")
        del self.streams[handle]
        self.events.append("stream destroyed")

    def enqueue(self, handle: int, work: Work) -> None:
        stream = self.stream(handle)
        (stream.queue if stream.capture is None else stream.capture).append(work)

    def copy(self, target: int, source: int, nbytes: int, kind: int, handle: int) -> None:
        """cudaMemcpyAsync."""
        self.check()
        if handle == 0:
            self.violate("a copy on the default stream")
            raise CudaError(INVALID_HANDLE)
        host, gpu = (source, target) if kind == TO_GPU else (target, source)
        if self._find(gpu, nbytes) is None or kind not in (TO_GPU, TO_HOST):
            raise CudaError(INVALID_VALUE)
        if not any(at <= host and host + nbytes <= at + len(room) for at, room in self.pinned.items()):
            self.violate(f"an asynchronous copy of {nbytes} bytes with host memory that is not page-locked")
            raise CudaError(INVALID_VALUE)

        def work() -> None:
            if kind == TO_GPU:
                self.write(gpu, ctypes.string_at(host, nbytes))
            else:
                ctypes.memmove(host, self.read(gpu, nbytes, "a copy"), nbytes)

        self.enqueue(handle, work)

    def synchronize(self, handle: int) -> None:
        self.check()
        stream = self.stream(handle)
        if stream.capture is not None:
            stream.invalidated = True
            raise CudaError(CAPTURE_UNSUPPORTED)
        queue, stream.queue = stream.queue, []
        try:
            for work in queue:
                work()
        except CudaError as error:
            self.sticky = error.code  # such an error ends the process's context
            raise

    # Graphs

    def begin_capture(self, handle: int) -> None:
        self.check()
        self.stream(handle).capture = []

    def end_capture(self, handle: int) -> int:
        self.check()
        stream = self.stream(handle)
        captured, stream.capture = stream.capture, None
        invalidated, stream.invalidated = stream.invalidated, False
        if captured is None:
            raise CudaError(INVALID_VALUE)
        if invalidated:
            raise CudaError(CAPTURE_INVALIDATED)
        number = next(self._numbers)
        self.graphs[number] = captured
        return number

    def instantiate(self, graph: int) -> int:
        self.check()
        number = next(self._numbers)
        self.executables[number] = list(self.graphs[graph])
        return number

    def launch(self, executable: int, handle: int) -> None:
        self.check()
        if executable not in self.executables:
            raise CudaError(INVALID_VALUE)
        self.events.append("graph launched")
        for work in self.executables[executable]:
            self.enqueue(handle, work)

    def left_over(self) -> list[str]:
        """Resources that were never given back."""
        kinds = {
            "GPU memory": self.allocations,
            "page-locked memory": self.pinned,
            "streams": self.streams,
            "graphs": self.graphs,
            "executable graphs": self.executables,
        }
        return [f"{len(items)} {name}" for name, items in kinds.items() if items]
