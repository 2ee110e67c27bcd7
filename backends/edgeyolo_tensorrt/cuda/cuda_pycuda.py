"""CUDA memory through pycuda, which is what many Jetsons have.

It knows no CUDA graphs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from edgeyolo.errors import EdgeYoloError, RuntimeMissingError
from edgeyolo_tensorrt.cuda.interface import Gpu, Graph, Pair, cuda_error

_LOG = logging.getLogger("edgeyolo_tensorrt")


class Pycuda:
    """Implements `edgeyolo_tensorrt.cuda.interface.Cuda`.

    Works in the GPU's primary context, which is the one that TensorRT works in; `pycuda.autoinit` would make another.
    """

    package = "pycuda"

    def __init__(self, index: int = 0) -> None:
        self._api = _driver()
        self.library = f"{self.package} {getattr(import_module('pycuda'), 'VERSION_TEXT', '')}".strip()
        self._pairs: list[Pair] = []
        self._closed = False
        with self._explained("looking for GPUs"):
            self._api.init()
            count = self._api.Device.count()
            if not 0 <= index < count:
                raise RuntimeMissingError(
                    f"there is no GPU {index}: this machine has {count}",
                    hint="GPUs are numbered from 0; CUDA_VISIBLE_DEVICES hides some.",
                )
            device = self._api.Device(index)
            driver = self._api.get_driver_version()
            self.gpu = Gpu(
                index,
                device.name(),
                tuple(device.compute_capability()),
                int(device.total_memory()),
                f"{driver // 1000}.{driver % 1000 // 10}",
            )
            self._context = _primary_context(self._api, index)
        with self.current(), self._explained("making a stream"):
            self._stream = self._api.Stream(1)  # CU_STREAM_NON_BLOCKING
        self.stream = int(self._stream.handle)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Push the context onto the thread's stack and take it off again."""
        with self._explained("choosing the GPU"):
            self._context.push()
        try:
            yield
        finally:
            self._api.Context.pop()

    def allocate(self, nbytes: int) -> Pair:
        """Page-locked and GPU memory."""
        with self._explained(f"allocating {nbytes / 1e6:.1f} MB"):
            host = self._api.pagelocked_empty(nbytes, np.uint8)
            try:
                room = self._api.mem_alloc(nbytes)
            except Exception:
                host.base.free()
                raise
        pair = Pair(host, int(room), room)
        self._pairs.append(pair)
        return pair

    def free(self, pair: Pair) -> None:
        """Both halves."""
        self._pairs.remove(pair)
        with self._explained("freeing memory"):
            pair.owner.free()
            pair.host.base.free()  # type: ignore[union-attr]

    def upload(self, pair: Pair, nbytes: int) -> None:
        """Host to GPU."""
        with self._explained("copying"):
            self._api.memcpy_htod_async(pair.address, pair.host[:nbytes], self._stream)

    def download(self, pair: Pair, nbytes: int) -> None:
        """GPU to host."""
        with self._explained("copying"):
            self._api.memcpy_dtoh_async(pair.host[:nbytes], pair.address, self._stream)

    def synchronize(self) -> None:
        """Errors of work done meanwhile arrive here."""
        with self._explained("running the network"):
            self._stream.synchronize()

    def record(self, work: Callable[[], None]) -> Graph | None:
        """pycuda has no stream capture."""
        return None

    def discard(self, graph: Graph) -> None:
        """Do nothing: there is no graph."""

    def close(self) -> None:
        """Give everything back, also on a GPU in error.

        Such a GPU refuses it; the rest is given back all the same, and the log says so.
        """
        if self._closed:
            return
        self._closed = True
        steps: list[Callable[[], None]] = [self.synchronize]
        steps += [lambda pair=pair: self.free(pair) for pair in self._pairs]  # type: ignore[misc]
        with self.current():
            for step in steps:
                try:
                    step()
                except EdgeYoloError as error:
                    _LOG.warning("on closing: %s", error.message)
            del self._stream  # pycuda destroys the stream with the object, in the context that is current

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except self._api.Error as error:
            # "cuMemAlloc failed: out of memory"; MemoryError, LogicError ... derive from Error
            kind = "CUDA_ERROR_OUT_OF_MEMORY" if "out of memory" in str(error) else type(error).__name__
            if "no CUDA-capable device" in str(error):
                kind = "CUDA_ERROR_NO_DEVICE"
            if "illegal" in str(error):
                kind = "IllegalAddress"
            name = self.gpu.name if hasattr(self, "gpu") else ""
            raise cuda_error(kind, str(error), doing, name) from error


@cache
def _primary_context(api: Any, index: int) -> Any:
    """The GPU's primary context.

    It is held until the process ends, as CUDA's own runtime holds it.

    pycuda's `detach` would leave it on the thread's stack of contexts after releasing it.
    """
    return api.Device(index).retain_primary_context()


def _driver() -> Any:
    try:
        return import_module("pycuda.driver")
    except ModuleNotFoundError:
        raise
    except ImportError as error:  # installed, but libcuda.so is not there
        raise RuntimeMissingError(
            f"pycuda does not load: {error}",
            hint="Install the NVIDIA driver; `nvidia-smi` then shows the GPU.",
        ) from error
