"""CUDA memory through NVIDIA's cuda-python: the runtime API, versions 11.8 to 13."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from edgeyolo.errors import EdgeYoloError, RuntimeMissingError
from edgeyolo_tensorrt.cuda.interface import Gpu, Graph, Pair, cuda_error

_LOG = logging.getLogger("edgeyolo_tensorrt")


def _runtime() -> Any:
    try:
        return import_module("cuda.bindings.runtime")
    except ModuleNotFoundError:  # cuda-python up to 12.6
        return import_module("cuda.cudart")


class CudaPython:
    """Implements `edgeyolo_tensorrt.cuda.interface.Cuda`."""

    package = "cuda-python"

    def __init__(self, index: int = 0) -> None:
        self._api = _runtime()
        self.library = (
            f"{self.package} {getattr(import_module(self._api.__package__), '__version__', '')}".strip()
        )
        self._pairs: list[Pair] = []
        self._graphs: list[_Graph] = []
        self._closed = False
        self.gpu = self._find(index)
        with self.current():
            flags = self._api.cudaStreamNonBlocking
            self._stream = self._do("making a stream", self._api.cudaStreamCreateWithFlags, flags)
        self.stream = int(self._stream)

    def _find(self, index: int) -> Gpu:
        api = self._api
        count = int(self._do("looking for GPUs", api.cudaGetDeviceCount))
        if not 0 <= index < count:
            raise RuntimeMissingError(
                f"there is no GPU {index}: this machine has {count}",
                hint="GPUs are numbered from 0; CUDA_VISIBLE_DEVICES hides some.",
            )
        facts = self._do("looking at the GPU", api.cudaGetDeviceProperties, index)
        driver = int(self._do("asking the driver", api.cudaDriverGetVersion))
        name = bytes(facts.name).split(b"\0", 1)[0].decode(errors="replace")
        return Gpu(
            index,
            name,
            (int(facts.major), int(facts.minor)),
            int(facts.totalGlobalMem),
            f"{driver // 1000}.{driver % 1000 // 10}",
        )

    @contextmanager
    def current(self) -> Iterator[None]:
        """Choose the GPU for this thread; there is nothing to undo."""
        self._do("choosing the GPU", self._api.cudaSetDevice, self.gpu.index)
        yield

    def allocate(self, nbytes: int) -> Pair:
        """Page-locked and GPU memory."""
        doing = f"allocating {nbytes / 1e6:.1f} MB"
        pointer = self._do(doing, self._api.cudaHostAlloc, nbytes, self._api.cudaHostAllocDefault)
        try:
            address = int(self._do(doing, self._api.cudaMalloc, nbytes))
        except EdgeYoloError:
            self._do("freeing memory", self._api.cudaFreeHost, pointer)
            raise
        room = (ctypes.c_uint8 * nbytes).from_address(int(pointer))
        pair = Pair(np.ctypeslib.as_array(room), address, pointer)
        self._pairs.append(pair)
        return pair

    def free(self, pair: Pair) -> None:
        """Both halves."""
        self._pairs.remove(pair)
        self._do("freeing memory", self._api.cudaFree, pair.address)
        self._do("freeing memory", self._api.cudaFreeHost, pair.owner)

    def upload(self, pair: Pair, nbytes: int) -> None:
        """Host to GPU."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._do(
            "copying", self._api.cudaMemcpyAsync, pair.address, int(pair.owner), nbytes, kind, self._stream
        )

    def download(self, pair: Pair, nbytes: int) -> None:
        """GPU to host."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._do(
            "copying", self._api.cudaMemcpyAsync, int(pair.owner), pair.address, nbytes, kind, self._stream
        )

    def synchronize(self) -> None:
        """Errors of work done meanwhile arrive here."""
        self._do("running the network", self._api.cudaStreamSynchronize, self._stream)

    def record(self, work: Callable[[], None]) -> Graph | None:
        """A CUDA graph.

        Capturing ends whatever `work` does, or the stream would be unusable.
        """
        api = self._api
        mode = api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._do("recording", api.cudaStreamBeginCapture, self._stream, mode)
        try:
            work()
        except BaseException:
            api.cudaStreamEndCapture(self._stream)  # its error is the one that `work` met
            api.cudaGetLastError()
            raise
        captured = self._do("recording", api.cudaStreamEndCapture, self._stream)
        try:
            # cudaGraphInstantiate takes other arguments in CUDA 11; this one is the same in all.
            made = self._do("recording", api.cudaGraphInstantiateWithFlags, captured, 0)
        finally:
            self._do("recording", api.cudaGraphDestroy, captured)
        graph = _Graph(self, made)
        self._graphs.append(graph)
        return graph

    def launch(self, executable: Any) -> None:
        """Put a recorded graph onto the stream."""
        self._do("running the network", self._api.cudaGraphLaunch, executable, self._stream)

    def discard(self, graph: Graph) -> None:
        """Destroy a graph that `record` made."""
        assert isinstance(graph, _Graph)
        self._graphs.remove(graph)
        self._do("discarding a graph", self._api.cudaGraphExecDestroy, graph.executable)

    def close(self) -> None:
        """Give everything back, also on a GPU in error.

        Such a GPU refuses it; the rest is given back all the same, and the log says so.
        """
        if self._closed:
            return
        self._closed = True
        steps: list[Callable[[], None]] = [self.synchronize]
        steps += [lambda graph=graph: self.discard(graph) for graph in self._graphs]  # type: ignore[misc]
        steps += [lambda pair=pair: self.free(pair) for pair in self._pairs]  # type: ignore[misc]
        steps.append(lambda: self._do("closing the stream", self._api.cudaStreamDestroy, self._stream))
        for step in steps:
            try:
                with self.current():
                    step()
            except EdgeYoloError as error:
                _LOG.warning("on closing: %s", error.message)

    def _do(self, doing: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a CUDA function.

        Give its result without the error code, or raise what the code means.
        """
        try:
            code, *results = function(*arguments)
        except RuntimeError as error:  # cuda-python up to 12.6 where there is no driver at all
            raise cuda_error("cudaErrorInsufficientDriver", str(error), doing) from error
        if int(code) != 0:
            name, text = (str(value[1].decode()) for value in self._describe(code))
            raise cuda_error(name, text, doing, getattr(getattr(self, "gpu", None), "name", ""))
        return results[0] if results else None

    def _describe(self, code: Any) -> tuple[Any, Any]:
        return self._api.cudaGetErrorName(code), self._api.cudaGetErrorString(code)


class _Graph:
    def __init__(self, cuda: CudaPython, executable: Any) -> None:
        self.cuda, self.executable = cuda, executable

    def launch(self) -> None:
        self.cuda.launch(self.executable)
