"""Core ML packages that others made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeyolo.artifact.contracts import GraphDetections, OutputContract
from edgeyolo.backend.interface import Port
from edgeyolo.errors import DamagedFileError
from edgeyolo_coreml.package import read
from edgeyolo_coreml.suppressed import names_in_file


def ports(package: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs as the package describes them.

    An image is called uint8 in NHWC, as a session takes it.
    """
    description = read(package)[0].description
    return tuple(map(_port, description.input)), tuple(map(_port, description.output))


def contract_ports(package: Path, output: OutputContract) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """`ports` under the names of a contract.

    A batch is a number of predictions, so its size is open in a package; the arrays of the contract are made of what
    Apple's detector gives by the session.
    """
    given, found = ports(package)
    named = {port.name: port for port in found}
    if isinstance(output, GraphDetections) and set(names_in_file(output)) <= set(named):
        shapes = zip(output.names, output.shapes(1, (1, 1)), strict=True)
        outputs = tuple(Port(name, (None,) * len(shape), "float32") for name, shape in shapes)
    else:
        outputs = tuple(replace(port, shape=(None, *port.shape[1:])) for port in found)
    return tuple(replace(port, shape=(None, *port.shape[1:])) for port in given), outputs


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
    kind = array.ArrayDataType.Name(array.dataType).lower()
    return Port(item.name, tuple(int(side) for side in array.shape), kind)
