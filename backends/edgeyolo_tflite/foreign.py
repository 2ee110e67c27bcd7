"""TFLite files that others made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeyolo.backend.interface import Port
from edgeyolo.errors import DamagedFileError
from edgeyolo_tflite import runtime
from edgeyolo_tflite.session import quantization_of


def ports(file: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs of the model; DamagedFileError where it does not load."""
    loaded = runtime.load()
    try:
        interpreter = loaded.interpreter(str(file), threads=1)
    except (ValueError, RuntimeError) as error:
        raise DamagedFileError(f"{file}: {loaded.name} cannot load it: {error}") from error
    given = tuple(map(_port, interpreter.get_input_details()))
    return given, tuple(map(_port, interpreter.get_output_details()))


def _port(item: Any) -> Port:
    shape = item.get("shape_signature", item["shape"])
    sides = tuple(int(side) if side > 0 else None for side in shape)
    return Port(str(item["name"]), sides, str(np.dtype(item["dtype"])), quantization_of(item))
