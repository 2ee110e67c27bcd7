"""Core ML packages that others made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeyolo.backend.interface import Port
from edgeyolo.errors import DamagedFileError
from edgeyolo_coreml.package import read


def ports(package: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs as the package describes them.

    An image is called uint8 in NHWC, as a session takes it.
    """
    description = read(package)[0].description
    return tuple(map(_port, description.input)), tuple(map(_port, description.output))


def parts(package: Path) -> Mapping[str, Path]:
    """Every file of the package."""
    files = [path for path in sorted(package.rglob("*")) if path.is_file() and path.name != ".DS_Store"]
    if not files:
        raise DamagedFileError(f"{package}: expected the directory of a Core ML package")
    return {f"model.mlpackage/{path.relative_to(package).as_posix()}": path for path in files}


def _port(item: Any) -> Port:
    if item.type.WhichOneof("Type") == "imageType":
        image = item.type.imageType
        return Port(item.name, (1, int(image.height), int(image.width), 3), "uint8")
    array = item.type.multiArrayType
    return Port(item.name, tuple(int(side) for side in array.shape), "float32")
