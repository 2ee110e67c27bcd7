"""OpenVINO on a machine with Intel graphics, an NPU and a Neural Compute Stick, simulated over the CPU plugin.

`install` gives `edgeyolo_openvino.runtime` a module whose Core sees the devices. What they refuse is refused in the
plugins' manner, as a RuntimeError: unknown properties, precisions that a device does not have, shapes that are not
static. Outputs are filled when a request is waited for; until then they hold NaN, so results that are read too early
are seen, and whatever OpenVINO leaves undefined is written to `violations`.
"""

from __future__ import annotations

import threading
from typing import Any

# Device -> precisions of its arithmetic; the stick knows no such property at all.
PRECISIONS = {"CPU": ("f32", "f16", "bf16"), "GPU": ("f32", "f16"), "NPU": ("f16",), "MYRIAD": ()}
CONFIG = {"PERFORMANCE_HINT": ("LATENCY", "THROUGHPUT"), "CACHE_DIR": None}


class Machine:
    """The devices, and what was done to them."""

    def __init__(self, *devices: str) -> None:
        self.devices = ("CPU", *devices)
        self.violations: list[str] = []
        self.compiled: list[str] = []
        self.open = 0  # networks that are on a device now

    def module(self, real: Any) -> Any:
        """Stand-in for the module `openvino`."""
        return Module(self, real)


class Module:
    """`openvino`, but for its Core."""

    def __init__(self, machine: Machine, real: Any) -> None:
        self.machine, self.real = machine, real

    def Core(self) -> Core:  # noqa: N802 - a class over there
        return Core(self.machine, self.real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def install(patch: Any, runtime: Any, machine: Machine) -> Machine:
    """Give the backend this machine instead of its own."""
    module = machine.module(runtime.load())
    patch.setattr(runtime, "load", lambda: module)
    patch.setattr(runtime, "devices", lambda: machine.devices)
    return machine


class Core:
    def __init__(self, machine: Machine, real: Any) -> None:
        self.machine, self.real = machine, real.Core()
        self.properties: dict[str, dict[str, Any]] = {}

    available_devices = property(lambda self: list(self.machine.devices))

    def read_model(self, path: str) -> Any:
        return self.real.read_model(path)

    def get_property(self, device: str, name: str) -> Any:
        return self.real.get_property(device, name)

    def set_property(self, device: str, properties: dict[str, Any]) -> None:
        kind = self._kind(device)
        for name, value in properties.items():
            known = name == "INFERENCE_PRECISION_HINT" or (kind == "CPU" and name == "INFERENCE_NUM_THREADS")
            if not known or kind == "MYRIAD":
                raise RuntimeError(
                    f"Check failed:\n[ NOT_FOUND ] Unsupported property {name} by {kind} plugin."
                )
            if name == "INFERENCE_PRECISION_HINT" and value not in PRECISIONS[kind]:
                raise RuntimeError(f"Check failed:\n{kind} does not support the inference precision {value}")
        self.properties[kind] = dict(properties)

    def compile_model(self, model: Any, device: str, config: dict[str, Any]) -> Any:
        kind = self._kind(device)
        if kind == "MYRIAD" and config:
            raise RuntimeError(
                f"Check failed:\n[ NOT_FOUND ] Unsupported property {next(iter(config))} by MYRIAD plugin."
            )
        for name, value in config.items():
            if name not in CONFIG or (CONFIG[name] and value not in CONFIG[name]):
                raise RuntimeError(f"Check failed:\nUnsupported property {name}={value}")
        if kind in ("NPU", "MYRIAD") and any(port.get_partial_shape().is_dynamic for port in model.inputs):
            raise RuntimeError(f"Check failed:\n{kind} takes static shapes only")
        if kind == "MYRIAD" and any(port.get_shape()[0] != 1 for port in model.inputs):
            raise RuntimeError("Check failed:\nMYRIAD takes one image at a time")
        if kind != "MYRIAD" and "INFERENCE_PRECISION_HINT" not in self.properties.get(kind, {}):
            self.machine.violations.append(f"{kind} is left to choose its own precision")
        self.machine.compiled.append(device)
        arithmetic = {"INFERENCE_PRECISION_HINT": "f32"}
        return CompiledModel(self.machine, self.real.compile_model(model, "CPU", arithmetic))

    def _kind(self, device: str) -> str:
        kind = device.partition(".")[0]
        if device not in self.machine.devices and kind not in self.machine.devices:
            raise RuntimeError(
                f"Check failed:\nDevice with {device} name is not registered in the OpenVINO Runtime"
            )
        return kind


class CompiledModel:
    def __init__(self, machine: Machine, real: Any) -> None:
        self.machine, self.real = machine, real
        machine.open += 1

    def get_property(self, name: str) -> Any:
        assert name == "OPTIMAL_NUMBER_OF_INFER_REQUESTS"
        return 2

    def output(self, name: str) -> Any:
        return self.real.output(name)

    def create_infer_request(self) -> InferRequest:
        names = {port.get_any_name() for port in [*self.real.inputs, *self.real.outputs]}
        outputs = {port.get_any_name() for port in self.real.outputs}
        return InferRequest(self.machine, self.real.create_infer_request(), names, outputs)

    def __del__(self) -> None:
        self.machine.open -= 1


class InferRequest:
    """One at a time: set every tensor, start, wait."""

    def __init__(self, machine: Machine, real: Any, names: set[str], outputs: set[str]) -> None:
        self.machine, self.real, self.names, self.outputs = machine, real, names, outputs
        self.tensors: dict[str, Any] = {}
        self.started = False
        self.guard = threading.Lock()

    def set_tensor(self, name: str, tensor: Any) -> None:
        if self.started:
            self.machine.violations.append("a tensor is set while the request runs")
        if name not in self.names:
            raise RuntimeError(f"Check failed:\nPort for tensor name {name} was not found.")
        self.tensors[name] = tensor

    def start_async(self) -> None:
        with self.guard:
            if self.started:
                raise RuntimeError("[ REQUEST_BUSY ]")
            self.started = True
        if missing := self.names - set(self.tensors):
            self.machine.violations.append(f"started without {sorted(missing)}")
        for name in self.outputs & set(self.tensors):
            values = self.tensors[name].data
            values[:] = float("nan") if values.dtype.kind == "f" else -1

    def wait(self) -> None:
        if not self.started:
            self.machine.violations.append("waiting for a request that was not started")
        for name, tensor in self.tensors.items():
            self.real.set_tensor(name, tensor)
        self.real.infer()
        self.tensors.clear()
        self.started = False
