"""Ports of a file beside the contracts of its manifest.

A manifest states what the file has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgeyolo.artifact.contracts import (
    GraphDetections,
    InputContract,
    OutputContract,
    Quantization,
    RawMaps,
)
from edgeyolo.backend.interface import Port


def with_file_types(
    given: InputContract, output: OutputContract, inputs: Sequence[Port], outputs: Sequence[Port]
) -> tuple[InputContract, OutputContract]:
    """Contracts with the types, scales and zero points of an integer file."""
    found = {port.name: port for port in (*inputs, *outputs)}
    taken = found.get(given.name)
    if taken is not None and taken.dtype == "int8":
        given = replace(given, dtype=taken.dtype, quantization=taken.quantization)
    maps = [found[name] for name in output.names if name in found]
    scales = [port.quantization for port in maps if port.dtype in ("int8", "uint8")]
    if (
        isinstance(output, RawMaps)
        and len(maps) == len(scales) == len(output.names)
        and len({port.dtype for port in maps}) == 1
    ):
        stated = tuple(each for each in scales if each is not None)
        output = replace(output, dtype=maps[0].dtype, quantization=stated)
    return given, output


def port_faults(
    given: InputContract, output: OutputContract, inputs: Sequence[Port], outputs: Sequence[Port]
) -> list[str]:
    """Sentences on everything in which contracts and ports differ."""
    by_name = {port.name: port for port in outputs}
    if [port.name for port in inputs] != [given.name]:
        return [f"the file takes {', '.join(port.name for port in inputs) or 'nothing'}, not {given.name}"]
    found = list(_input_faults(given, inputs[0]))
    for index, (name, shape) in enumerate(
        zip(output.names, output.shapes(given.batch, given.size), strict=True)
    ):
        port = by_name.get(name)
        if port is None:
            found.append(f"the file gives {', '.join(by_name) or 'nothing'}, and no {name}")
            continue
        found += _shape_faults(name, port, shape, {0} if given.dynamic_batch else set())
        if isinstance(output, RawMaps):
            stated = output.quantization[index] if output.quantization else None
            found += _type_faults(name, port, output.dtype, stated)
        elif not isinstance(output, GraphDetections):
            found += _type_faults(name, port, "float32", None)
    return found


def _input_faults(given: InputContract, port: Port) -> Iterator[str]:
    rows = (2, 3) if given.layout == "NCHW" else (1, 2)
    free = ({0} if given.dynamic_batch else set()) | (set(rows) if given.dynamic_size else set())
    yield from _shape_faults(given.name, port, given.shape(), free)
    yield from _type_faults(given.name, port, given.dtype, given.quantization)


def _shape_faults(name: str, port: Port, stated: tuple[int, ...], free: set[int]) -> Iterator[str]:
    """Compare a shape of the file with the stated one.

    Open sides of the file take any; those that the manifest calls free must be open.
    """
    fits = len(port.shape) == len(stated) and all(
        side is None if axis in free else side in (None, want)
        for axis, (side, want) in enumerate(zip(port.shape, stated, strict=True))
    )
    if not fits:
        yield f"{name} is {port.shape} in the file, the manifest says {stated}"


def _type_faults(name: str, port: Port, dtype: str, stated: Quantization | None) -> Iterator[str]:
    if port.dtype != dtype:
        yield f"{name} is {port.dtype} in the file, the manifest says {dtype}"
        return
    found = port.quantization
    if not (found.same(stated) if found else stated is None):
        yield f"{name} has {found or 'no scale'} in the file, the manifest says {stated or 'none'}"
