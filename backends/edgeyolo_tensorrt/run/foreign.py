"""Engines that others built, with trtexec for one.

They run where they were built, and are looked into there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeyolo.backend.interface import Port
from edgeyolo.errors import RuntimeMissingError
from edgeyolo_tensorrt.cuda.open_cuda import open_cuda
from edgeyolo_tensorrt.library import listening, load_library, logger_for, make
from edgeyolo_tensorrt.options import DeviceOptions
from edgeyolo_tensorrt.plugin import plugins_load

_TYPES = {"FLOAT": "float32", "HALF": "float16"}


def ports(file: Path, options: DeviceOptions) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs of the engine.

    RuntimeMissingError where it is not for this GPU and TensorRT version.
    """
    library, cuda = load_library(), open_cuda(options.device)
    try:
        with cuda.current(), listening(library.module) as heard:
            runtime = make(library, library.module.Runtime, heard)
            plugins_load(library, logger_for(library.module))  # an engine that lacks one is not loaded below
            engine = runtime.deserialize_cuda_engine(file.read_bytes())
            if engine is None:
                raise RuntimeMissingError(
                    f"{file}: TensorRT {library.text} on {cuda.gpu.name} cannot load this engine:\n{heard.complaint()}",
                    hint="An engine runs only on the GPU and with the TensorRT version that built it.",
                )
            names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
            given = library.module.TensorIOMode.INPUT
            inputs = tuple(_port(engine, name) for name in names if engine.get_tensor_mode(name) == given)
            outputs = tuple(_port(engine, name) for name in names if engine.get_tensor_mode(name) != given)
            del engine
            return inputs, outputs
    finally:
        cuda.close()


def _port(engine: Any, name: str) -> Port:
    sides = tuple(int(side) if side >= 0 else None for side in engine.get_tensor_shape(name))
    kind = engine.get_tensor_dtype(name).name
    return Port(name, sides, _TYPES.get(kind, kind.lower()))
