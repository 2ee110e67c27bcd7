"""A network held by torch on a GPU, in float16."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo.errors import EdgeYoloError
from edgeyolo_torch.cuda import load_torch

SHAPES = 4  # input shapes whose buffers are kept; a camera needs one, rectangular evaluation some more


@dataclass
class _Buffers:
    """The memory of one input shape.

    `graph` writes `outputs` from `given`; None runs the network eagerly.
    """

    host: Any  # page-locked, so that copies run beside the CPU
    given: Any
    outputs: tuple[Any, ...] = ()
    results: tuple[Any, ...] = ()  # page-locked
    graph: Any = None


def load_network(path: Path) -> Any:
    """The network of a weights file, on the CPU in float32."""
    from edgeyolo.models.weights import load

    return load(path).network.eval()


class CudaSession:
    """Runs raw head maps in float16, channels last, on a stream of its own.

    Threads take turns.

    Pixels and maps are float32 outside: they are converted on the GPU. With `graph` the network is recorded once for
    each input shape and replayed, which saves launching its kernels one by one.
    """

    def __init__(
        self, path: Path, input: InputContract, output: OutputContract, *, index: int, graph: bool
    ) -> None:
        self._torch = torch = load_torch()
        self._path, self._input, self._output = path, input, output
        self._device, self._index, self._records = torch.device(f"cuda:{index}"), index, graph
        self._lock = Lock()
        self._buffers: OrderedDict[tuple[int, ...], _Buffers] = OrderedDict()
        network = load_network(path)
        with self._explained("loading the network"), torch.cuda.device(index):
            self._stream = torch.cuda.Stream(device=self._device)
            # What is placed on the default stream must be there before another stream reads it.
            self._network: Any = network.to(
                device=self._device, dtype=torch.float16, memory_format=torch.channels_last
            )
            torch.cuda.synchronize(self._device)

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Map (n, 3, height, width) float32 to the raw maps by name."""
        self._input.check(batch)
        torch = self._torch
        with self._lock:
            if self._network is None:
                raise EdgeYoloError(f"{self._path}: the session is closed")
            with (
                self._explained("running the network"),
                torch.inference_mode(),
                torch.cuda.device(self._index),
            ):
                buffers = self._buffers_for(tuple(batch.shape))
                buffers.host.copy_(torch.from_numpy(np.ascontiguousarray(batch)))
                with torch.cuda.stream(self._stream):
                    self._enqueue(buffers)
                self._stream.synchronize()
                # Copied: the buffers are the next run's.
                maps = [result.numpy().copy() for result in buffers.results]
        return dict(zip(self._output.names, maps, strict=True))

    def close(self) -> None:
        """Release the GPU's memory."""
        with self._lock:
            if self._network is None:
                return
            self._stream.synchronize()
            self._buffers.clear()
            self._network = None
            self._torch.cuda.empty_cache()

    def _enqueue(self, buffers: _Buffers) -> None:
        buffers.given.copy_(buffers.host, non_blocking=True)
        if buffers.graph is not None:
            buffers.graph.replay()
        else:
            buffers.outputs = self._forward(buffers.given)
        if not buffers.results:
            buffers.results = tuple(self._pinned(each.shape) for each in buffers.outputs)
        for result, output in zip(buffers.results, buffers.outputs, strict=True):
            result.copy_(output, non_blocking=True)

    def _forward(self, given: Any) -> tuple[Any, ...]:
        torch = self._torch
        maps = self._network(given.to(dtype=torch.float16, memory_format=torch.channels_last))
        single = torch.contiguous_format
        return tuple(each.to(dtype=torch.float32, memory_format=single) for each in maps)

    def _buffers_for(self, shape: tuple[int, ...]) -> _Buffers:
        if shape in self._buffers:
            self._buffers.move_to_end(shape)
            return self._buffers[shape]
        torch = self._torch
        while len(self._buffers) >= SHAPES:  # nothing runs now: every run ends with its stream synchronized
            self._buffers.popitem(last=False)
        given = torch.empty(shape, dtype=torch.float32, device=self._device)
        buffers = _Buffers(self._pinned(shape), given)
        if self._records:
            self._record(buffers)
        self._buffers[shape] = buffers
        return buffers

    def _record(self, buffers: _Buffers) -> None:
        """Capture the network.

        It runs before, because what cuDNN and the allocator set up must not be captured.
        """
        torch = self._torch
        with torch.cuda.stream(self._stream):
            buffers.given.zero_()
            for _ in range(3):
                self._forward(buffers.given)
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            buffers.outputs = self._forward(buffers.given)
        buffers.graph = graph

    def _pinned(self, shape: Any) -> Any:
        return self._torch.empty(tuple(shape), dtype=self._torch.float32, pin_memory=True)

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Turn torch's CUDA errors into ours; others pass."""
        try:
            yield
        except self._torch.cuda.OutOfMemoryError as error:
            raise EdgeYoloError(
                f"{self._path}: the GPU's memory is full ({doing}): {_first_line(error)}",
                hint="Take a smaller batch or image, or end other programs on the GPU (`nvidia-smi`).",
            ) from error
        except RuntimeError as error:
            if "CUDA" not in str(error):
                raise
            raise EdgeYoloError(
                f"{self._path}: the GPU failed ({doing}): {_first_line(error)}",
                hint="`edgeyolo doctor` shows versions; CUDA_LAUNCH_BLOCKING=1 shows where.",
            ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
