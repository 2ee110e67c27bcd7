"""The half of TensorRT that builds."""

from __future__ import annotations

import time
from typing import Any

import onnx
from tensorrt_fakes.bound import Bound, expect, value
from tensorrt_fakes.parser import Complaint, judge
from tensorrt_fakes.plan import Plan, tensors
from tensorrt_fakes.world import HostMemory


class INetworkDefinition(Bound):
    def __init__(self, flags: int) -> None:
        self._flags, self._model = flags, None

    def _has(self, flag: str) -> bool:
        members = self._world.surface["enums"]["NetworkDefinitionCreationFlag"]
        return flag in members and bool(self._flags >> members[flag] & 1)

    @property
    def _implicit(self) -> bool:
        return self._world.major < 10 and not self._has("EXPLICIT_BATCH")

    @property
    def _strong(self) -> bool:
        return self._world.major >= 11 or self._has("STRONGLY_TYPED")


class IOptimizationProfile(Bound):
    def __init__(self) -> None:
        self._shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self._shapes[input] = [list(min), list(opt), list(max)]


class ITimingCache(Bound):
    def __init__(self, data: bytes) -> None:
        self._data = data

    def serialize(self) -> HostMemory:
        return HostMemory(self._data)


class IProgressMonitor(Bound):
    def __init__(self) -> None:
        self._ready = True

    def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None: ...

    def phase_finish(self, phase_name: str) -> None: ...

    def step_complete(self, phase_name: str, step: int) -> bool: ...


class IBuilderConfig(Bound):
    progress_monitor = value("progress_monitor", "IProgressMonitor")
    default_device_type = value("default_device_type", "DeviceType")
    DLA_core = value("DLA_core", int)

    def __init__(self) -> None:
        self._flags = {"TF32"}  # on by default in every version
        self._profiles: list[IOptimizationProfile] = []
        self._pools: dict[str, int] = {}
        self._cache: ITimingCache | None = None

    @property
    def _dla(self) -> bool:
        return self.default_device_type == self._world.module.DeviceType.DLA

    def set_flag(self, flag: Any) -> None:
        expect(flag, self._world.module.BuilderFlag, "flag")
        self._flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        expect(flag, self._world.module.BuilderFlag, "flag")
        self._flags.discard(flag.name)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        expect(pool, self._world.module.MemoryPoolType, "pool")
        expect(pool_size, int, "pool_size")
        self._pools[pool.name] = pool_size

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        expect(profile, self._world.module.IOptimizationProfile, "profile")
        sides = [side for shapes in profile._shapes.values() for side in zip(*shapes, strict=True)]
        self._profiles.append(profile)
        ordered = all(0 < low <= mid <= high for low, mid, high in sides)
        return len(self._profiles) - 1 if ordered else -1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        expect(serialized_timing_cache, (bytes, bytearray, memoryview), "serialized_timing_cache")
        return self._world.module.ITimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache._data and not cache._data.startswith(self._tag()) and not ignore_mismatch:
            self._world.say("Timing cache was built for another device or version.")
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache

    def _tag(self) -> bytes:
        return f"timing {self._world.version} {self._world.gpu.name};".encode()


class Builder(Bound):
    def __init__(self, logger: Any) -> None:
        self._world.register(logger)
        self._logger = logger

    @property
    def num_DLA_cores(self) -> int:  # noqa: N802 - the real name
        return self._world.gpu.dla_cores

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        expect(flags, int, "flags")
        return self._world.module.INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return self._world.module.IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return self._world.module.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> HostMemory | None:
        expect(network, self._world.module.INetworkDefinition, "network")
        expect(config, self._world.module.IBuilderConfig, "config")
        machine, gpu = self._world.machine, self._world.gpu
        if error := machine.build_error or self._objection(network, config):
            self._world.say(error)
            return None
        if not self._work_through(getattr(config, "progress_monitor", None)):
            self._world.say("Build was cancelled by the progress monitor.", "WARNING")
            return None
        if config._cache is not None:
            kernels = f"{len(network._model.graph.node)} kernels;".encode()
            config._cache._data = (config._cache._data or config._tag()) + kernels
        profiles = [shapes for profile in config._profiles for shapes in profile._shapes.values()]
        machine.events.append(f"built with {sorted(config._flags)} {config._pools}")
        plan = Plan(
            version=self._world.version,
            gpu=gpu.name,
            compute_capability=list(gpu.compute_capability),
            tf32="TF32" in config._flags and gpu.compute_capability >= (8, 0),
            profile=profiles[0] if profiles else None,
            dla_core=config.DLA_core if config._dla else None,
            onnx_bytes=network._model.SerializeToString(),
        )
        return HostMemory(plan.to_bytes())

    def _work_through(self, monitor: Any) -> bool:
        """Ten steps; what a monitor answers decides whether they go on."""
        if monitor is not None:
            monitor.phase_start("Building engine", None, 10)
        for step in range(10):
            time.sleep(self._world.machine.step_s)
            if monitor is not None and not monitor.step_complete("Building engine", step):
                return False
        if monitor is not None:
            monitor.phase_finish("Building engine")
        return True

    def _objection(self, network: Any, config: Any) -> str:
        """TensorRT's words where it cannot build this; "" where it can."""
        model, gpu, world = network._model, self._world.gpu, self._world
        if model is None:
            return "Network must have at least one output"
        half = any(item.data_type == onnx.TensorProto.FLOAT16 for item in model.graph.initializer)
        quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
        varies = any(-1 in shape for _, shape in tensors(model.graph.input).values())
        weak, flags = not network._strong, config._flags
        objections = {
            f"Target GPU SM {gpu.compute_capability} is not supported by this TensorRT release.": (
                gpu.compute_capability < (7, 5) and world.numbers >= (10, 5)
            ),
            "A strongly typed network must not set precision flags": not weak
            and bool(flags & {"FP16", "INT8"}),
            "fp16 precision has been set for a layer or layer output, but fp16 is not configured in the builder": (
                weak and half and "FP16" not in flags
            ),
            "Q/DQ layers need int8 to be configured in the builder": weak
            and quantized
            and "INT8" not in flags,
            "Network has dynamic or shape inputs, but no optimization profile has been defined.": (
                varies and not config._profiles
            ),
            "DLA cannot run Resize and GPU fallback is not allowed": config._dla
            and "GPU_FALLBACK" not in flags,
            "DLA does not take a strongly typed network": config._dla
            and network._strong
            and world.major == 10,
            "Could not find any implementation: the workspace is too small": not config._pools.get(
                "WORKSPACE", 1
            ),
        }
        return next((text for text, holds in objections.items() if holds), "")


class ParserError(Bound):
    def __init__(self, complaint: Complaint) -> None:
        self._complaint = complaint

    def node(self) -> int:
        return self._complaint.node

    def node_name(self) -> str:
        return self._complaint.name

    def node_operator(self) -> str:
        return self._complaint.operator

    def desc(self) -> str:
        return self._complaint.text

    def code(self) -> Any:
        return self._world.module.ErrorCode.UNSUPPORTED_NODE


class OnnxParser(Bound):
    def __init__(self, network: Any, logger: Any) -> None:
        expect(network, self._world.module.INetworkDefinition, "network")
        expect(logger, self._world.module.ILogger, "logger")
        self._network, self._errors = network, []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def parse_from_file(self, model: str) -> bool:
        expect(model, str, "model")
        found, self._errors = judge(model, self._world.major, self._world.plugins)
        if self._network._implicit:
            text = "This parser only supports networks with an explicit batch dimension."
            self._errors = [Complaint(-1, "", "", text)]
        if not self._errors:
            self._network._model = found
        return not self._errors

    def get_error(self, index: int) -> ParserError:
        return self._world.module.ParserError(self._errors[index])
