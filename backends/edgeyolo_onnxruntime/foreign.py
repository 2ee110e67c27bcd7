"""ONNX files that others made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeyolo.backend.interface import Port
from edgeyolo_onnxruntime.session import load

_TYPES = {"float": "float32", "double": "float64"}


def ports(file: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs of the graph; DamagedFileError where it does not load."""
    session = load(file, None)
    return _ports(session.get_inputs()), _ports(session.get_outputs())


def parts(file: Path) -> Mapping[str, Path]:
    """The file and the weights that some exporters write beside it.

    The weights stand under their own name.
    """
    beside = file.with_name(f"{file.name}.data")
    return {"model.onnx": file} | ({beside.name: beside} if beside.is_file() else {})


def _ports(nodes: list[Any]) -> tuple[Port, ...]:
    found = []
    for node in nodes:
        kind = node.type.removeprefix("tensor(").removesuffix(")")
        shape = tuple(side if isinstance(side, int) else None for side in node.shape)
        found.append(Port(node.name, shape, _TYPES.get(kind, kind)))
    return tuple(found)
