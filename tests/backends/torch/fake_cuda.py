"""torch on a machine with NVIDIA GPUs, simulated: what is put onto a stream happens when the stream is synchronized.

Only what `edgeyolo_torch` calls is here, by torch's own names. Device memory holds NaN until the work that fills it has
run, so a result that is read too early is seen; what CUDA forbids, or leaves undefined, is written to `violations`.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch

from edgeyolo_torch.rounding import RoundsToHalf, round_weights


class Machine:
    """Its GPUs, what was done wrong on it, and what it has done."""

    def __init__(self, *gpus: tuple[str, tuple[int, int]], cuda: str | None = "13.0") -> None:
        self.gpus, self.cuda = gpus, cuda
        self.violations: list[str] = []
        self.calls: list[str] = []
        self.live: weakref.WeakSet[FakeTensor] = weakref.WeakSet()
        self.streams = [Stream(self, "default")]
        self.current, self.current_device = self.streams[0], 0
        self.capturing: Graph | None = None
        self.full = False  # the next allocation on the GPU fails

    def wrong(self, text: str) -> None:
        self.violations.append(text)

    def module(self, architectures: tuple[str, ...] = ("sm_75", "sm_80", "sm_90", "compute_90")) -> Any:
        """Stand-in for the module `torch`."""
        cuda = SimpleNamespace(
            is_available=lambda: bool(self.gpus and self.cuda),
            device_count=lambda: len(self.gpus),
            get_device_name=lambda index: self.gpus[index][0],
            get_device_capability=lambda index: self.gpus[index][1],
            get_arch_list=lambda: list(architectures),
            device=self._device,
            Stream=self._stream,
            stream=self._on,
            synchronize=self._synchronize,
            CUDAGraph=lambda: Graph(self),
            graph=self._capture,
            empty_cache=lambda: self.calls.append("empty_cache"),
            OutOfMemoryError=torch.cuda.OutOfMemoryError,
        )
        return SimpleNamespace(
            __version__="2.13.0+cu130",
            version=SimpleNamespace(cuda=self.cuda),
            float16=torch.float16,
            float32=torch.float32,
            channels_last=torch.channels_last,
            contiguous_format=torch.contiguous_format,
            device=torch.device,
            inference_mode=torch.inference_mode,
            from_numpy=lambda array: FakeTensor(self, torch.from_numpy(array)),
            empty=self._empty,
            cuda=cuda,
        )

    def enqueue(
        self, work: Callable[[], object], reads: tuple[FakeTensor, ...], writes: tuple[FakeTensor, ...]
    ) -> None:
        """Put work onto the current stream, or into the graph that is being captured."""
        if self.current.index != self.current_device:
            self.wrong(f"work for GPU {self.current.index} while GPU {self.current_device} is current")
        if self.capturing is not None:
            self.capturing.work.append(work)
            return
        for tensor in reads:
            if tensor.writer is not None and tensor.writer is not self.current:
                self.wrong("a stream reads what another stream has not finished writing")
        self.current.pending.append((work, reads, writes))
        for tensor in writes:
            tensor.writer = self.current
        for tensor in reads:
            tensor.readers.add(self.current)

    def _empty(self, shape: Any, *, dtype: Any, device: Any = None, pin_memory: bool = False) -> FakeTensor:
        if device is not None and self.full:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines.")
        place = str(device) if device is not None else "cpu"
        return FakeTensor(self, torch.full(tuple(shape), float("nan"), dtype=dtype), place, pinned=pin_memory)

    @contextlib.contextmanager
    def _device(self, index: int) -> Iterator[None]:
        before, self.current_device = self.current_device, index
        self.streams[0].index = index
        yield
        self.current_device = before
        self.streams[0].index = before

    def _stream(self, *, device: torch.device) -> Stream:
        made = Stream(self, f"stream {len(self.streams)}", device.index)
        self.streams.append(made)
        return made

    @contextlib.contextmanager
    def _on(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def _synchronize(self, device: torch.device) -> None:
        for stream in self.streams:
            stream.synchronize()

    @contextlib.contextmanager
    def _capture(self, graph: Graph, *, stream: Stream) -> Iterator[None]:
        if stream.pending:
            self.wrong("a capture begins while its stream is busy")
        if "forward" not in stream.done:
            self.wrong("the network was not run before it was captured")
        with self._on(stream):
            self.capturing = graph
            try:
                yield
            finally:
                self.capturing = None
        self.calls.append("capture")


class Stream:
    def __init__(self, machine: Machine, name: str, index: int = 0) -> None:
        self.machine, self.name, self.index = machine, name, index
        self.pending: list[tuple[Callable[[], object], tuple[FakeTensor, ...], tuple[FakeTensor, ...]]] = []
        self.done: set[str] = set()

    def synchronize(self) -> None:
        if self.machine.capturing is not None:
            self.machine.wrong("synchronizing while capturing")
        for work, reads, writes in self.pending:
            work()
            for tensor in writes:
                tensor.writer = None
            for tensor in reads:
                tensor.readers.discard(self)
        self.pending.clear()


class Graph:
    def __init__(self, machine: Machine) -> None:
        self.machine, self.work = machine, []  # type: ignore[var-annotated]

    def replay(self) -> None:
        if not self.work:
            self.machine.wrong("an empty graph is replayed")
        for work in self.work:
            self.machine.enqueue(work, (), ())
        self.machine.calls.append("replay")


class FakeTensor:
    """Real values on the CPU that say where they pretend to be."""

    def __init__(
        self, machine: Machine, data: torch.Tensor, place: str = "cpu", *, pinned: bool = False
    ) -> None:
        self.machine, self.data, self.place, self.pinned = machine, data, place, pinned
        self.writer: Stream | None = None
        self.readers: set[Stream] = set()
        if place != "cpu":
            machine.live.add(self)

    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)

    def copy_(self, source: FakeTensor, non_blocking: bool = False) -> FakeTensor:
        machine = self.machine
        if self.place == source.place == "cpu":
            if self.readers or self.writer:
                machine.wrong("page-locked memory is overwritten while a stream still uses it")
            self.data.copy_(source.data)
            return self
        host = self if self.place == "cpu" else source
        if not non_blocking:
            machine.wrong("a copy between host and GPU that blocks")
        if not host.pinned:
            machine.wrong("a copy from or to memory that is not page-locked")
        if self.place == "cpu":
            self.data.fill_(float("nan"))
        machine.enqueue(lambda: self.data.copy_(source.data), (source,), (self,))
        return self

    def zero_(self) -> FakeTensor:
        self.machine.enqueue(self.data.zero_, (), (self,))
        return self

    def to(self, *, dtype: Any, memory_format: Any) -> FakeTensor:
        if self.place == "cpu":
            self.machine.wrong("the CPU converts what the GPU could")
        made = self._made(self.data.to(dtype=dtype, memory_format=memory_format))
        self.machine.enqueue(lambda: made.data.copy_(self.data), (self,), (made,))
        return made

    def numpy(self) -> Any:
        if self.place != "cpu":
            raise TypeError(f"can't convert {self.place} device type tensor to numpy.")
        if self.writer is not None:
            self.machine.wrong("results are read before their stream is synchronized")
        return self.data.numpy()

    def _made(self, like: torch.Tensor) -> FakeTensor:
        return FakeTensor(self.machine, torch.full_like(like, float("nan")), self.place)


class FakeNetwork:
    """A network that can be placed on a GPU of the machine and computes there as float16 does."""

    def __init__(self, machine: Machine, network: Any) -> None:
        self.machine, self.network, self.place = machine, network, "cpu"
        self.shapes: dict[tuple[int, ...], list[torch.Tensor]] = {}

    def to(self, *, device: torch.device, dtype: Any, memory_format: Any) -> FakeNetwork:
        if (dtype, memory_format) != (torch.float16, torch.channels_last):
            self.machine.wrong(f"weights as {dtype}, {memory_format}")
        round_weights(self.network)
        self.place = str(device)
        self.weights = FakeTensor(self.machine, torch.zeros(1), self.place)
        self.machine.enqueue(lambda: None, (), (self.weights,))
        return self

    def __call__(self, given: FakeTensor) -> tuple[FakeTensor, ...]:
        machine = self.machine
        if given.place != self.place:
            raise RuntimeError("Expected all tensors to be on the same device")
        if given.dtype != torch.float16:
            raise RuntimeError("Input type (torch.cuda.FloatTensor) and weight type (torch.cuda.HalfTensor)")
        if not given.data.is_contiguous(memory_format=torch.channels_last):
            machine.wrong("the input is not channels last")
        if not torch.is_inference_mode_enabled():
            machine.wrong("the network is run with gradients")
        key = tuple(given.shape)
        if key not in self.shapes:
            self.shapes[key] = self._compute(torch.zeros_like(given.data))
        like = self.shapes[key]
        made = tuple(FakeTensor(machine, torch.full_like(each, float("nan")), self.place) for each in like)
        stream = machine.current

        def work() -> None:
            stream.done.add("forward")
            for tensor, value in zip(made, self._compute(given.data), strict=True):
                tensor.data.copy_(value)

        machine.enqueue(work, (given, self.weights), made)
        return made

    def _compute(self, half: torch.Tensor) -> list[torch.Tensor]:
        with torch.inference_mode(), RoundsToHalf():
            maps = self.network(half.to(torch.float32))
        return [each.to(torch.float16).contiguous(memory_format=torch.channels_last) for each in maps]
