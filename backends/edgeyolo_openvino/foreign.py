"""OpenVINO files that others made."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from edgeyolo.backend.interface import Port
from edgeyolo.errors import DamagedFileError
from edgeyolo_openvino import runtime

_TYPES = {"f32": "float32", "f16": "float16", "u8": "uint8", "i8": "int8", "i32": "int32", "i64": "int64"}


def ports(file: Path, wanted: Collection[str] = ()) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs of the network; DamagedFileError where it does not load.

    Of several names of one port, that in `wanted` is taken.
    """
    try:
        model = runtime.load().Core().read_model(str(file))
    except RuntimeError as error:
        raise DamagedFileError(f"{file}: OpenVINO cannot read it: {runtime.reason(error)}") from error
    return _ports(model.inputs, ()), _ports(model.outputs, wanted)


def parts(file: Path) -> Mapping[str, Path]:
    """The graph and the weights beside it."""
    weights = file.with_suffix(".bin")
    if not weights.is_file():
        raise DamagedFileError(f"{file}: its weights, {weights.name}, are not beside it")
    return {"model.xml": file, "model.bin": weights}


def _ports(nodes: list[Any], wanted: Collection[str]) -> tuple[Port, ...]:
    found = []
    for node in nodes:
        shape = tuple(side.get_length() if side.is_static else None for side in node.get_partial_shape())
        kind = node.get_element_type().get_type_name()
        name = next((each for each in sorted(node.get_names()) if each in wanted), node.get_any_name())
        found.append(Port(name, shape, _TYPES.get(kind, kind)))
    return tuple(found)
