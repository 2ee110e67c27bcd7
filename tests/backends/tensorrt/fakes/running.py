"""The half of TensorRT that runs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from tensorrt_fakes.bound import Bound, expect, value
from tensorrt_fakes.machine import Stream
from tensorrt_fakes.parser import PLUGINS
from tensorrt_fakes.plan import Plan, tensors


class Runtime(Bound):
    max_threads = value("max_threads", int)

    def __init__(self, logger: Any) -> None:
        self._world.register(logger)
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        expect(serialized_engine, (bytes, bytearray, memoryview), "serialized_engine")
        plan, world = Plan.from_bytes(bytes(serialized_engine)), self._world
        here = world.gpu.compute_capability
        if plan is None:
            world.say("Serialization assertion magicTagRead == kMAGIC_TAG failed. Magic tag does not match")
        elif plan.version != world.version:
            world.say(
                "The engine plan file is not compatible with this version of TensorRT, expecting library version "
                f"{world.version} got {plan.version}, please rebuild."
            )
        elif tuple(plan.compute_capability) != here:
            world.say(
                f"The engine plan file is generated on an incompatible device, expecting compute {here} got compute "
                f"{tuple(plan.compute_capability)}, please rebuild."
            )
        elif any(node.op_type in PLUGINS for node in plan.model.graph.node) and not world.plugins:
            world.say("Cannot find plugin: EfficientNMS_TRT, version: 1, namespace:.")
        else:
            return world.module.ICudaEngine(self, plan)
        return None

    def __del__(self) -> None:
        self._world.machine.events.append("runtime released")


class ICudaEngine(Bound):
    def __init__(self, runtime: Runtime, plan: Plan) -> None:
        self._runtime, self._plan, self._gpu = runtime, plan, self._world.machine.current()
        self._inputs, self._outputs = tensors(plan.model.graph.input), tensors(plan.model.graph.output)
        self._names = [*self._inputs, *self._outputs]

    @property
    def num_io_tensors(self) -> int:
        return len(self._names)

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> Any:
        modes = self._world.module.TensorIOMode
        return modes.INPUT if name in self._inputs else modes.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return getattr(self._world.module.DataType, (self._inputs | self._outputs)[name][0])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self._inputs | self._outputs)[name][1]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        fixed = [self._inputs[name][1]] * 3
        return [tuple(shape) for shape in self._plan.profile or fixed]

    def create_execution_context(self) -> IExecutionContext | None:
        gpu = self._world.machine.gpus[self._gpu]
        if gpu.memory - gpu.used < 1 << 20:
            self._world.say("Requested amount of GPU memory could not be allocated. Out of memory")
            return None
        return self._world.module.IExecutionContext(self)

    def __del__(self) -> None:
        self._world.machine.events.append("engine released")


class IExecutionContext(Bound):
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._plan = engine, engine._plan
        self._addresses: dict[str, int] = {}
        (self._input,) = engine._inputs
        shape = engine._inputs[self._input][1]
        self._shape: tuple[int, ...] | None = None if -1 in shape else shape
        self._ran: set[tuple[int, ...]] = set()
        self._busy = False

    def _alone(self) -> None:
        if self._busy:
            self._world.violate("an execution context used by two threads at once")

    def set_input_shape(self, name: str, shape: Any) -> bool:
        self._alone()
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        fits = len(shape) == len(low) and all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))
        if not fits:
            self._world.say(f"API Usage Error: shape {tuple(shape)} is outside the profile {low} ... {high}")
            return False
        self._shape = tuple(int(side) for side in shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name == self._input:
            return self._shape or self._engine._inputs[name][1]
        return (self._shape[0] if self._shape else -1, *self._engine._outputs[name][1][1:])

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._alone()
        expect(memory, int, "memory")
        if name not in self._engine._names:
            self._world.say(f"API Usage Error: no tensor {name}")
            return False
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        expect(stream_handle, int, "stream_handle")
        self._alone()
        self._busy = True
        try:
            time.sleep(0.0005)  # long enough for another thread to come along
            with self._world.machine.lock:
                return self._enqueue(stream_handle)
        finally:
            self._busy = False

    def _enqueue(self, handle: int) -> bool:
        machine = self._world.machine
        stream = machine.streams.get(handle)
        if stream is None or {stream.gpu, machine.current()} != {self._engine._gpu}:
            machine.violate("a network put onto no stream, or onto one of another GPU")
            self._world.say("Cuda Runtime (invalid resource handle)")
            return False
        if not machine.executable:
            self._world.say("Cuda Runtime (out of memory)")
            return False
        missing = [name for name in self._engine._names if name not in self._addresses]
        if missing or self._shape is None:
            self._world.say(f"API Usage Error: no address for {missing}, shape {self._shape}")
            return False
        if stream.capture is not None and not self._recordable(stream):
            return False
        plan, name, addresses, shape = self._plan, self._input, dict(self._addresses), self._shape

        def work() -> None:
            size = {"UINT8": 1, "HALF": 2}.get(self._engine._inputs[name][0], 4)
            data = machine.read(addresses[name], int(np.prod(shape)) * size, "the network")
            for item, result in plan.compute(name, data, shape).items():
                machine.write(addresses[item], result)

        machine.enqueue(handle, work)
        self._ran.add(shape)
        return True

    def _recordable(self, stream: Stream) -> bool:
        machine = self._world.machine
        if machine.recordable and self._shape in self._ran:
            return True
        if machine.recordable:
            machine.violate("a network recorded that has not run before")
        stream.invalidated = True
        self._world.say("Cuda Runtime (operation not permitted when stream is capturing)")
        return False

    def __del__(self) -> None:
        machine = self._world.machine
        machine.events.append("context released")
        if any(stream.queue for stream in machine.streams.values()):
            machine.violate("an execution context released while work is waiting on a stream")
