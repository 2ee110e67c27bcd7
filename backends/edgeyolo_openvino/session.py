"""A loaded network.

Any number of threads, a pool of inference requests, results that belong to the caller.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo.errors import DamagedFileError, EdgeYoloError, RuntimeMissingError
from edgeyolo_openvino import runtime
from edgeyolo_openvino.settings import Settings

_NO_LAYERS = ("Parameter", "Constant", "Convert", "Result")
Maps = dict[str, NDArray[np.float32]]


class OpenvinoSession:
    """Runs a network on one OpenVINO device.

    OpenVINO writes into the arrays that are returned, so nothing is copied and they outlive the next run.
    `made_with` is the version that wrote the file, for the message where it cannot be read.
    """

    def __init__(
        self,
        path: Path,
        input: InputContract,
        output: OutputContract,
        settings: Settings,
        made_with: str = "",
    ) -> None:
        self._path, self._input, self._output, self.settings = path, input, output, settings
        self._ov = runtime.load()
        self._core = self._ov.Core()  # kept: a network of OpenVINO 2022 forgets its own properties without it
        self._model: Any = self._compile(made_with)
        # One more than the device works on at a time, so that the next input waits in the device's own queue.
        # Threads that wait for futures start when there are any.
        count = int(self._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) + 1
        self._requests = [self._model.create_infer_request() for _ in range(count)]
        self._free = list(self._requests)
        self._changed = Condition()
        self._closed = False
        self._waiters = ThreadPoolExecutor(count, thread_name_prefix="openvino-wait")

    def run(self, batch: NDArray[Any]) -> Maps:
        """Map an input array of the contract to its outputs by name.

        Waits for a free request.
        """
        self._input.check(batch)
        with self._borrowed() as request:
            maps, _batch = self._start(request, batch)
            self._wait(request)
        return _floats(maps)

    def submit(self, batch: NDArray[Any]) -> Future[Maps]:
        """Start a run and return at once; the future gives what `run` gives.

        The batch is copied, so its buffer may be refilled. Blocks while every request is taken: a caller cannot
        run ahead of the device. The future cannot be cancelled.
        """
        self._input.check(batch)
        request = self._take()
        try:
            started = self._start(request, np.array(batch))
        except BaseException:
            self._give_back(request)
            raise
        future: Future[Maps] = Future()
        future.set_running_or_notify_cancel()
        self._waiters.submit(self._finish, future, request, started)
        return future

    def layers(self, batch: NDArray[Any], names: Collection[str]) -> Maps:
        """Float tensors of the network by their names in the ONNX file.

        They are for looking into a missed gate.

        Compiles the network once more, with all of them as outputs.
        """
        self._input.check(batch)
        model = self._core.read_model(str(self._path))
        ends = {name for port in model.outputs for name in port.get_names()}
        for operation in model.get_ordered_ops():
            for port in operation.outputs():
                if (
                    operation.get_type_name() not in _NO_LAYERS
                    and not port.get_names().isdisjoint(names)
                    and not ends & port.get_names()
                ):
                    model.add_outputs(port)
        compiled = self._core.compile_model(model, self.settings.device, self.settings.compile_properties())
        found = compiled.create_infer_request().infer({self._input.name: batch})
        return {
            name: np.array(values, np.float32)
            for port, values in found.items()
            if values.dtype.kind == "f"
            for name in port.get_names()
        }

    def close(self) -> None:
        """Let what runs end, then release the device's memory."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._free) == len(self._requests))
            self._free, self._requests, self._model, self._core = [], [], None, None
        self._waiters.shutdown(wait=False)  # a future's callback may be the one that closes

    def _compile(self, made_with: str) -> Any:
        core, path, settings = self._core, self._path, self.settings
        version = runtime.loaded_version(self._ov)
        try:
            model = core.read_model(str(path))
        except RuntimeError as error:
            older = f"OpenVINO {made_with} made it; that version or a newer one reads it."
            raise DamagedFileError(
                f"{path}: OpenVINO {version} cannot read it: {runtime.reason(error)}",
                hint="Export the weights again." if made_with in ("", version) else older,
            ) from error
        _require_ports(model, path, self._input, self._output)
        try:
            for device in runtime.real_devices(settings.device):
                # Set on the device itself: AUTO, MULTI and HETERO of 2022 do not pass properties on.
                if properties := settings.device_properties(device):
                    core.set_property(device, properties)
            return core.compile_model(model, settings.device, settings.compile_properties())
        except RuntimeError as error:
            raise RuntimeMissingError(
                f"{path}: OpenVINO {version} cannot load it on {settings.device}: {runtime.reason(error)}",
                hint="EDGEYOLO_OPENVINO_DEVICE=CPU runs it on the CPU; `edgeyolo doctor` shows the devices.",
            ) from error

    def _start(self, request: Any, batch: NDArray[Any]) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
        """Start `request`; both arrays returned must live until it has ended."""
        batch = np.require(batch, requirements=["C", "W"])
        layout = 2 if self._input.layout == "NCHW" else 1
        height, width = batch.shape[layout : layout + 2]
        shapes = self._output.shapes(batch.shape[0], (height, width))
        maps = {
            name: np.empty(shape, self._model.output(name).get_element_type().to_dtype())
            for name, shape in zip(self._output.names, shapes, strict=True)
        }
        request.set_tensor(self._input.name, self._ov.Tensor(batch, shared_memory=True))
        for name, each in maps.items():
            request.set_tensor(name, self._ov.Tensor(each, shared_memory=True))
        request.start_async()
        return maps, batch

    def _wait(self, request: Any) -> None:
        try:
            request.wait()
        except RuntimeError as error:
            raise EdgeYoloError(
                f"{self._path}: {self.settings.device} failed: {runtime.reason(error)}"
            ) from error

    def _finish(
        self, future: Future[Maps], request: Any, started: tuple[dict[str, NDArray[Any]], NDArray[Any]]
    ) -> None:
        failure: Exception | None = None
        try:
            self._wait(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's to see
            failure = error
        self._give_back(request)
        if failure is None:
            future.set_result(_floats(started[0]))
        else:
            future.set_exception(failure)

    @contextmanager
    def _borrowed(self) -> Iterator[Any]:
        request = self._take()
        try:
            yield request
        finally:
            self._give_back(request)

    def _take(self) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._free)
            if self._closed:
                raise EdgeYoloError(f"{self._path}: the session is closed")
            return self._free.pop()

    def _give_back(self, request: Any) -> None:
        with self._changed:
            self._free.append(request)
            self._changed.notify_all()


def _floats(outputs: dict[str, NDArray[Any]]) -> Maps:
    """Counts and class ids as float32 too.

    Maps are that already and stay where they are.
    """
    return {name: np.asarray(each, np.float32) for name, each in outputs.items()}


def _require_ports(model: Any, path: Path, input: InputContract, output: OutputContract) -> None:
    """Raise DamagedFileError unless the network has the manifest's input and outputs."""
    given = sorted(name for port in [*model.inputs, *model.outputs] for name in port.get_names())
    if missing := {input.name, *output.names} - set(given):
        raise DamagedFileError(
            f"{path}: the network has the tensors {', '.join(given) or 'none'}; the manifest expects also "
            + ", ".join(sorted(missing))
        )
    shape = [dimension.to_string() for dimension in model.input(input.name).get_partial_shape()]
    expected = [str(side) for side in input.shape()]
    if shape[1:] != expected[1:] or (shape[0] != expected[0] and not input.dynamic_batch):
        raise DamagedFileError(f"{path}: the network takes {shape}, the manifest says {expected}")
