"""A loaded engine."""

from __future__ import annotations

import logging
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import GraphDetections, InputContract, OutputContract
from edgeyolo.errors import DamagedFileError, EdgeYoloError, RuntimeMissingError, UsageError
from edgeyolo_tensorrt.cuda.interface import Cuda, Gpu, Graph, Pair
from edgeyolo_tensorrt.cuda.open_cuda import open_cuda
from edgeyolo_tensorrt.engine.engine_cache import RECORD, EngineRecord, misfits
from edgeyolo_tensorrt.library import (
    Heard,
    Library,
    listening,
    load_library,
    logger_for,
    make,
    refuse_unsupported_gpu,
)
from edgeyolo_tensorrt.options import DeviceOptions
from edgeyolo_tensorrt.plugin import register_plugins

_LOG = logging.getLogger("edgeyolo_tensorrt")

_DTYPES = {"FLOAT": np.float32, "HALF": np.float16, "UINT8": np.uint8, "INT8": np.int8, "INT32": np.int32}


class TensorrtSession:
    """A network on one GPU and one stream.

    It runs through page-locked buffers that are kept between runs.

    A TensorRT context serves one caller at a time: threads wait for each other. With `cuda_graph` copies and network
    are recorded in the second run of a batch size and replayed until the batch size changes.
    """

    def __init__(
        self, engine: Path, input: InputContract, output: OutputContract, library: Library, cuda: Cuda,
        *, cuda_graph: bool = False, threads: int | None = None,
    ) -> None:  # fmt: skip
        """Take over `cuda`.

        It is closed with the session, and also where loading fails.
        """
        self._path, self._input, self._output = engine, input, output
        self._library, self._cuda = library, cuda
        self._lock = Lock()
        self._closed = False
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._pairs: dict[str, Pair] = {}
        self._batch = 0
        self._cuda_graph = cuda_graph
        self._graph: Graph | None = None
        self._warm = False  # the first run of a shape prepares things, which cannot be recorded
        try:
            with cuda.current(), listening(library.module) as heard:
                self._load(engine, threads, heard)
        except BaseException:
            self.close()
            raise

    def _load(self, path: Path, threads: int | None, heard: Heard) -> None:
        self._runtime = make(self._library, self._library.module.Runtime, heard)
        if isinstance(self._output, GraphDetections):
            register_plugins(self._library, logger_for(self._library.module))
        if threads is not None:
            self._runtime.max_threads = threads
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            gpu = self._cuda.gpu
            raise RuntimeMissingError(
                f"{path}: TensorRT {self._library.text} on {gpu.name} ({gpu.architecture}) cannot load this engine:\n"
                f"{heard.complaint()}",
                hint="An engine runs only on the GPU and with the TensorRT version that built it: "
                "`edgeyolo build DIR --force` on this machine.",
            )
        self._dtypes = self._check_tensors()
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EdgeYoloError(
                f"{path}: TensorRT cannot prepare the engine to run on {self._cuda.gpu.name}:\n{heard.complaint()}",
                hint="Free GPU memory, or use a smaller batch or image size.",
            )

    def _check_tensors(self) -> dict[str, np.dtype[Any]]:
        """The element types by name; the engine's tensors must be those of the contracts."""
        engine, modes = self._engine, self._library.module.TensorIOMode
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        given = {name for name in names if engine.get_tensor_mode(name) == modes.INPUT}
        made = set(names) - given
        if given != {self._input.name} or made != set(self._output.names):
            raise DamagedFileError(
                f"{self._path}: the engine takes {sorted(given)} and gives {sorted(made)}; the manifest says "
                f"{[self._input.name]} and {sorted(self._output.names)}",
                hint="It was built from another network: `edgeyolo build DIR --force`.",
            )
        kinds = {name: str(engine.get_tensor_dtype(name).name) for name in names}
        if unknown := {kind for kind in kinds.values() if kind not in _DTYPES}:
            raise DamagedFileError(
                f"{self._path}: the engine's tensors are of type {', '.join(sorted(unknown))}"
            )
        dtypes = {name: np.dtype(_DTYPES[kind]) for name, kind in kinds.items()}
        if dtypes[self._input.name] != self._input.dtype:
            raise DamagedFileError(
                f"{self._path}: the engine takes {dtypes[self._input.name]}, the manifest says {self._input.dtype}"
            )
        return dtypes

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Run the network on an input array.

        It maps the array (InputContract's shape and dtype) to the outputs by name, as float32 copies.

        Raises:
            UsageError: another shape or type, or a batch that the engine was not built for.
            EdgeYoloError: the session is closed, or the GPU reports an error.
        """
        self._input.check(batch)
        with self._lock:
            if self._closed:
                raise EdgeYoloError(f"{self._path}: the session is closed")
            with self._cuda.current(), listening(self._library.module) as heard:
                self._prepare(batch.shape, heard)
                pair = self._pairs[self._input.name]
                np.copyto(self._view(pair, batch.dtype, batch.shape), batch)
                self._execute(heard)
                self._cuda.synchronize()
                return {name: self._result(name) for name in self._output.names}

    def _prepare(self, shape: tuple[int, ...], heard: Heard) -> None:
        """Settle shapes, memory and addresses for a batch size.

        Nothing to do where it is the last one's.
        """
        if shape[0] == self._batch:
            return
        self._batch, self._warm = 0, False  # nothing is settled until all is
        self._forget_graph()
        name = self._input.name
        if not self._context.set_input_shape(name, shape):
            limits = [tuple(limit) for limit in self._engine.get_tensor_profile_shape(name, 0)]
            raise UsageError(
                f"{self._path}: the engine takes {limits[0]} to {limits[-1]}, got {shape}\n{heard.complaint()}",
                hint="Use smaller batches, or export with --batch dynamic and build again.",
            )
        self._shapes = {item: tuple(self._context.get_tensor_shape(item)) for item in self._dtypes}
        promised = self._output.shapes(shape[0], self._input.size)
        if (given := tuple(self._shapes[item] for item in self._output.names)) != promised:
            raise DamagedFileError(f"{self._path}: the engine gives {given}, the manifest says {promised}")
        for item in self._dtypes:
            self._reserve(item, self._nbytes(item))
        self._batch = shape[0]

    def _reserve(self, name: str, nbytes: int) -> None:
        """Room for a tensor. What is there is kept where it is large enough."""
        pair = self._pairs.get(name)
        if pair is None or pair.nbytes < nbytes:
            if pair is not None:
                self._cuda.synchronize()
                del self._pairs[name]
                self._cuda.free(pair)
            pair = self._pairs[name] = self._cuda.allocate(nbytes)
        if not self._context.set_tensor_address(name, pair.address):
            raise EdgeYoloError(f"{self._path}: TensorRT refuses the memory for {name}")

    def _execute(self, heard: Heard) -> None:
        """Put copies and network onto the stream.

        The recorded graph is used where there is one.
        """
        if self._cuda_graph and self._warm and self._graph is None:
            self._record(heard)
        if self._graph is None:
            self._enqueue(heard)
            self._warm = True
        else:
            self._graph.launch()

    def _record(self, heard: Heard) -> None:
        reason = f"{self._cuda.library} knows none"
        try:
            self._graph = self._cuda.record(lambda: self._enqueue(heard))
        except EdgeYoloError as error:  # a layer that cannot be recorded; running it needs no graph
            reason = str(error)
        if self._graph is None:
            _LOG.warning("%s: running without CUDA graph: %s", self._path, reason)
            self._cuda_graph = False

    def _enqueue(self, heard: Heard) -> None:
        name = self._input.name
        self._cuda.upload(self._pairs[name], self._nbytes(name))
        if not self._context.execute_async_v3(self._cuda.stream):
            raise EdgeYoloError(f"{self._path}: TensorRT could not run the engine:\n{heard.complaint()}")
        for item in self._output.names:
            self._cuda.download(self._pairs[item], self._nbytes(item))

    def _nbytes(self, name: str) -> int:
        return int(prod(self._shapes[name]) * self._dtypes[name].itemsize)

    def _result(self, name: str) -> NDArray[np.float32]:
        """A copy that belongs to the caller.

        The buffers are written again by the next run.
        """
        return np.array(
            self._view(self._pairs[name], self._dtypes[name], self._shapes[name]), dtype=np.float32
        )

    @staticmethod
    def _view(pair: Pair, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        return pair.host[: prod(shape) * dtype.itemsize].view(dtype).reshape(shape)

    def _forget_graph(self) -> None:
        """A graph holds shapes and addresses, so it ends with them."""
        if self._graph is not None:
            self._cuda.discard(self._graph)
            self._graph = None

    def close(self) -> None:
        """Wait for a run that is going on, then release everything.

        The order is context, engine, runtime, buffers, stream.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                with self._cuda.current():
                    self._cuda.synchronize()
            except EdgeYoloError as error:  # a GPU in error; what can be released is
                _LOG.warning("%s: on closing: %s", self._path, error.message)
            self._context = None
            self._engine = None
            self._runtime = None
            self._cuda.close()


def open_engine(
    file: Path,
    input: InputContract,
    output: OutputContract,
    options: DeviceOptions | None = None,
    *,
    threads: int | None = None,
) -> TensorrtSession:
    """Load an engine, ours or one that trtexec made.

    The contracts say what its tensors mean.

    Where `engine.json` lies beside it, GPU and TensorRT version are compared before TensorRT sees the file.

    Raises:
        RuntimeMissingError: no TensorRT, no GPU, or the engine was built for others; the message says what to rebuild.
        DamagedFileError: there is no such file, or its tensors are not the contracts'.
    """
    if not file.is_file():
        raise DamagedFileError(f"{file}: there is no such engine", hint="edgeyolo build DIR makes it.")
    options = options or DeviceOptions()
    library = load_library()
    cuda = open_cuda(options.device)
    try:
        refuse_unsupported_gpu(library, cuda.gpu.name, cuda.gpu.compute_capability)
        _require_built_here(file, cuda.gpu, library.text)
    except BaseException:
        cuda.close()
        raise
    return TensorrtSession(file, input, output, library, cuda, cuda_graph=options.cuda_graph, threads=threads)


def _require_built_here(file: Path, gpu: Gpu, tensorrt: str) -> None:
    record = file.with_name(RECORD)
    if record.is_file() and (wrong := misfits(EngineRecord.read(record), gpu, tensorrt)):
        raise RuntimeMissingError(
            f"{file} does not run here: {'; '.join(wrong)}",
            hint="Engines belong to one GPU and one TensorRT version: run `edgeyolo build DIR` on this machine.",
        )
