"""Common state of TensorRT's objects: a machine, a version, and the one logger of the process."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tensorrt_fakes.bound import Bound, expect
from tensorrt_fakes.machine import FakeGpu, Machine


@dataclass
class World:
    machine: Machine
    version: str
    surface: dict[str, Any]
    module: ModuleType
    plugins: bool = False  # whether the plugin library was loaded

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split("."))

    @property
    def major(self) -> int:
        return self.numbers[0]

    @property
    def gpu(self) -> FakeGpu:
        """The calling thread's."""
        return self.machine.gpus[self.machine.current()]

    def register(self, logger: Any) -> None:
        """First step of every Builder and Runtime: the first logger hears everything, for ever."""
        expect(logger, self.module.ILogger, "logger")
        if not getattr(logger, "_ready", False):
            raise TypeError("ILogger.__init__() must be called when overriding __init__")
        self.machine.logger = self.machine.logger or logger
        if not self.machine.driver:
            # A warning, says TensorRT 8.5.3.
            self.say(
                "CUDA initialization failure with error: 35. Please check your CUDA installation", "WARNING"
            )
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def say(self, text: str, severity: str = "ERROR") -> None:
        """Tell the logger."""
        self.machine.logger.log(getattr(self.module.ILogger.Severity, severity), text)  # type: ignore[attr-defined]

    def violate(self, text: str) -> None:
        self.machine.violate(text)


class ILogger(Bound):
    def __init__(self) -> None:
        self._ready = True

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError("ILogger.log must be overridden")


class HostMemory(bytearray):
    """IHostMemory: bytes(), memoryview() and file.write() take it."""

    @property
    def nbytes(self) -> int:
        return len(self)
