"""One build, with the calls that TensorRT 8.5 to 11 share.

What differs is tested for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from edgeyolo.errors import EdgeYoloError, UnsupportedTargetError
from edgeyolo.support.files import atomic_file
from edgeyolo_tensorrt.cuda.interface import Gpu
from edgeyolo_tensorrt.engine.parsing import parse_graph
from edgeyolo_tensorrt.engine.progress import Progress, attach_monitor
from edgeyolo_tensorrt.library import Library, listening, logger_for, make
from edgeyolo_tensorrt.options import DeviceOptions
from edgeyolo_tensorrt.package.recipe import Recipe
from edgeyolo_tensorrt.plugin import register_plugins

MIB = 1 << 20


@dataclass(frozen=True)
class Job:
    """A network to build, and the settings and GPU to build it for.

    `package` is the folder of its ONNX files.
    """

    library: Library
    recipe: Recipe
    package: Path
    gpu: Gpu
    options: DeviceOptions
    progress: Progress | None = None
    stopped: Event = field(default_factory=Event)

    @property
    def trt(self) -> Any:
        """The module."""
        return self.library.module

    @property
    def strongly_typed(self) -> bool:
        """Return True if TensorRT takes the types from the graph.

        Its flag came with 10; 11 knows nothing else.

        DLA in TensorRT 10 wants builder flags as in 8, that is, a network that is not strongly typed.
        """
        if self.library.version >= (11,):
            return True
        return (
            hasattr(self.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
            and self.options.dla_core is None
        )

    @property
    def graph(self) -> Path:
        """The ONNX file that says its types in the way that this build reads."""
        return self.package / (self.recipe.typed if self.strongly_typed else self.recipe.graph)

    def cancel(self) -> None:
        """Ask a running build to stop.

        TensorRT 10 and newer do, at the end of the step they are at.
        """
        self.stopped.set()

    def write_engine(self, into: Path, timing: Path) -> None:
        """Parse, configure, build, and write TensorRT's bytes to `into`.

        `timing` is the timing cache's file.
        """
        logger = logger_for(self.trt)
        with listening(self.trt) as heard:
            builder = make(self.library, self.trt.Builder, heard)
            network = builder.create_network(self._network_flags())
            if self.recipe.plugins:
                register_plugins(self.library, logger)
            parse_graph(self.library, network, logger, self.graph)
            config = builder.create_builder_config()
            self._configure(config)
            if self.recipe.dynamic:
                self._add_profile(builder, config)
            if self.options.dla_core is not None:
                self._use_dla(builder, config, self.options.dla_core)
            cache = self._start_timing_cache(config, timing)
            attach_monitor(self.trt, config, self.progress, self.stopped.is_set)
            plan = builder.build_serialized_network(network, config)
            if plan is None:
                raise EdgeYoloError(
                    f"TensorRT {self.library.text} could not build {self.graph} for {self.gpu.name}:\n"
                    + heard.complaint(),
                    hint="Out of memory? Try a smaller --workspace, batch or image size. Nothing was written.",
                )
            with into.open("wb") as file:
                file.write(memoryview(plan))
            self._save_timing_cache(config, timing)
            del cache  # TensorRT wants it to outlive the build

    def _network_flags(self) -> int:
        kinds = self.trt.NetworkDefinitionCreationFlag
        name = "STRONGLY_TYPED" if self.strongly_typed else "EXPLICIT_BATCH"
        return 1 << int(getattr(kinds, name)) if hasattr(kinds, name) else 0

    def _configure(self, config: Any) -> None:
        flags = self.trt.BuilderFlag
        wanted = (self.options.workspace_mib or self.recipe.workspace_mib) * MIB
        # A Jetson's GPU shares the memory of everything else.
        config.set_memory_pool_limit(self.trt.MemoryPoolType.WORKSPACE, min(wanted, self.gpu.memory // 2))
        if not self.recipe.tf32:
            config.clear_flag(flags.TF32)
        if not self.strongly_typed:
            for kind, name in (("float16", "FP16"), ("int8", "INT8")):
                if kind in self.recipe.types:
                    config.set_flag(getattr(flags, name))

    def _add_profile(self, builder: Any, config: Any) -> None:
        profile = builder.create_optimization_profile()
        smallest, usual, largest = self.recipe.shapes()
        profile.set_shape(self.recipe.input, smallest, usual, largest)
        if config.add_optimization_profile(profile) < 0:
            first, _, last = self.recipe.batch
            raise EdgeYoloError(f"TensorRT {self.library.text} refuses batches of {first} to {last} images")

    def _use_dla(self, builder: Any, config: Any, core: int) -> None:
        if core >= builder.num_DLA_cores:
            raise UnsupportedTargetError(
                f"there is no DLA core {core}: {self.gpu.name} has {builder.num_DLA_cores}",
                hint="Build without DLA.",
            )
        config.default_device_type = self.trt.DeviceType.DLA
        config.DLA_core = core
        config.set_flag(self.trt.BuilderFlag.GPU_FALLBACK)  # what DLA does not know runs on the GPU

    @staticmethod
    def _start_timing_cache(config: Any, timing: Path) -> Any:
        known = timing.read_bytes() if timing.is_file() else b""
        for data in (known, b""):  # a cache of another GPU or version is refused; then an empty one
            cache = config.create_timing_cache(data)
            if cache is not None and config.set_timing_cache(cache, False):
                return cache
        return None

    @staticmethod
    def _save_timing_cache(config: Any, timing: Path) -> None:
        cache = config.get_timing_cache()
        if cache is not None:
            with atomic_file(timing) as draft:
                draft.write_bytes(memoryview(cache.serialize()))
