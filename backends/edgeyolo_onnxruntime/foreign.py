"""ONNX files that others made."""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import Any

from edgeyolo.backend.interface import Port
from edgeyolo.errors import DamagedFileError
from edgeyolo_onnxruntime.session import load

_LOCATION = re.compile(rb"\x0a\x08location\x12([\x00-\x7f]|[\x80-\xff][\x00-\x7f])", re.DOTALL)
_TYPES = {"float": "float32", "double": "float64"}


def ports(file: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs of the graph; DamagedFileError where it does not load."""
    session = load(file, None, optimized=False)
    return _ports(session.get_inputs()), _ports(session.get_outputs())


def metadata(file: Path) -> Mapping[str, str]:
    """Properties of the graph: class names, for one, as ultralytics writes them."""
    return dict(load(file, None, optimized=False).get_modelmeta().custom_metadata_map)


def parts(file: Path) -> Mapping[str, Path]:
    """The file and its files of weights, each under the name that it gives them.

    Raises DamagedFileError where one of them is missing, or lies elsewhere than beside the file.
    """
    found = {"model.onnx": file}
    for name in locations(file):
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or not place.parts or "\\" in name:
            raise DamagedFileError(f"{file}: it names weights outside its folder: {name[:80]!r}")
        if not (file.parent / name).is_file():
            raise DamagedFileError(
                f"{file}: its weights, {name}, are not beside it", hint=f"Copy {name} into the same folder."
            )
        found[name] = file.parent / name
    return found


def locations(file: Path) -> tuple[str, ...]:
    """The files of weights that an ONNX file names, in order.

    They are found in its bytes, as the base install has no package that parses them: each tensor that lies elsewhere
    holds an entry of the key "location" (StringStringEntryProto of onnx.proto3), whose encoding is searched for.
    """
    found: dict[str, None] = {}
    with file.open("rb") as opened, _mapped(opened) as data:
        for match in _LOCATION.finditer(data):
            low, high = match[1][0], match[1][1] if len(match[1]) > 1 else 0
            length = (low & 127) | high << 7
            found[bytes(data[match.end() : match.end() + length]).decode("utf-8", "replace")] = None
    return tuple(found)


def _mapped(opened: Any) -> Any:
    try:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:  # an empty file cannot be mapped
        return nullcontext(b"")


def _ports(nodes: list[Any]) -> tuple[Port, ...]:
    found = []
    for node in nodes:
        kind = node.type.removeprefix("tensor(").removesuffix(")")
        shape = tuple(side if isinstance(side, int) else None for side in node.shape)
        found.append(Port(node.name, shape, _TYPES.get(kind, kind)))
    return tuple(found)
