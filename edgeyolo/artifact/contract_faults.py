"""Values of contracts that cannot be.

They are checked one by one and against each other before anything is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from edgeyolo.artifact.contracts import (
    DecodedBoxes,
    GraphDetections,
    InputContract,
    OutputContract,
    Quantization,
    RawMaps,
)

MAX_SIDE = 16384
MAX_BATCH_SIZE = 4096
MAX_PIXELS = 1 << 27  # of a whole batch, at most 1.6 GB as float32: 320 images of 640 pixels
MAX_VALUES = 1 << 28  # of all outputs together
MAX_CLASSES = 65536
MAX_STRIDE = 1024
MAX_ROWS = 100_000  # detections that a graph may give for an image

_INPUT_TYPES = ("float32", "float16", "uint8", "int8")
_MAP_TYPES = ("float32", "float16", "uint8", "int8")


def contract_faults(given: InputContract, output: OutputContract) -> list[str]:
    """A sentence for every value that cannot be; none where the contracts can be kept."""
    found = [*_input_faults(given), *_output_faults(output)]
    if found:
        return found
    if isinstance(output, RawMaps) and not given.dynamic_size:
        found += [
            f"input: {given.height}x{given.width} is no multiple of the stride {stride}"
            for stride in output.strides
            if given.height % stride or given.width % stride
        ]
    values = sum(math.prod(shape) for shape in output.shapes(given.batch, given.size))
    if values > MAX_VALUES:
        found.append(f"output: {values} values for a batch, at most {MAX_VALUES}")
    return found


def _input_faults(given: InputContract) -> Iterator[str]:
    for name, side in (("height", given.height), ("width", given.width)):
        yield from _beyond(f"input: {name}", side, 1, MAX_SIDE)
    yield from _beyond("input: batch", given.batch, 1, MAX_BATCH_SIZE)
    yield from _beyond("input: max_batch", given.max_batch, 1, MAX_BATCH_SIZE)
    if given.batch * given.height * given.width > MAX_PIXELS:
        yield f"input: {given.batch} images of {given.height}x{given.width}, at most {MAX_PIXELS} pixels together"
    yield from _names("input", (given.name,))
    yield from _no_word("input: layout", given.layout, ("NCHW", "NHWC"))
    yield from _no_word("input: dtype", given.dtype, _INPUT_TYPES)
    yield from _no_word("input: color_order", given.color_order, ("RGB", "BGR"))
    yield from _beyond("input: scale", given.scale, 1e-9, 1e9)
    yield from _beyond("input: pad_value", given.pad_value, 0, 255)
    if (given.dtype == "int8") is not (given.quantization is not None):
        yield f"input: {given.dtype} {'without' if given.quantization is None else 'with'} scale and zero point"
    if given.quantization is not None:
        yield from _quantization("input", given.quantization)


def _output_faults(output: OutputContract) -> Iterator[str]:
    yield from _beyond("output: classes", output.classes, 1, MAX_CLASSES)
    yield from _names("output", output.names)
    if isinstance(output, RawMaps):
        yield from _map_faults(output)
    elif isinstance(output, GraphDetections):
        yield from _beyond("output: conf", output.conf, 0, 1)
        yield from _beyond("output: iou", output.iou, 0, 1)
        yield from _beyond("output: max_det", output.max_det, 1, MAX_ROWS)
        yield from _beyond("output: max_candidates", output.max_candidates, 1, MAX_VALUES)
        if len(output.names) != 4:
            yield f"output: {len(output.names)} names, expected those of count, boxes, scores and labels"
    else:
        rows = output.boxes if isinstance(output, DecodedBoxes) else output.rows
        yield from _beyond("output: boxes", rows, 1, MAX_VALUES)
        if len(output.names) != 1:
            yield f"output: {len(output.names)} names, expected one"


def _map_faults(maps: RawMaps) -> Iterator[str]:
    if not len(maps.names) == len(maps.strides) == len(maps.anchors):
        yield "output: names, strides and anchors differ in number"
    for stride in maps.strides:
        yield from _beyond("output: stride", stride, 1, MAX_STRIDE)
    if len({len(level) for level in maps.anchors}) != 1 or not maps.anchors[0]:
        yield "output: expected equally many anchors, at least one, at every stride"
    for side in (side for level in maps.anchors for pair in level for side in pair):
        yield from _beyond("output: anchor", side, 1e-3, 1e6)
    yield from _no_word("output: layout", maps.layout, ("NCHW", "NHWC"))
    yield from _no_word("output: dtype", maps.dtype, _MAP_TYPES)
    yield from _beyond("output: box_gain", maps.box_gain, 1e-3, 1e3)
    expected = len(maps.names) if maps.dtype.endswith("int8") else 0
    if len(maps.quantization) != expected:
        yield f"output: {len(maps.quantization)} scales for {len(maps.names)} maps of {maps.dtype}"
    for each in maps.quantization:
        yield from _quantization("output", each)


def _quantization(what: str, stated: Quantization) -> Iterator[str]:
    yield from _beyond(f"{what}: quantization scale", stated.scale, 1e-30, 1e30)
    yield from _beyond(f"{what}: zero point", stated.zero_point, -128, 255)


def _names(what: str, names: Sequence[str]) -> Iterator[str]:
    if not names or len(set(names)) != len(names):
        yield f"{what}: expected different names, got {list(names)[:8]}"
    if not all(name and name.isprintable() for name in names):
        yield f"{what}: a name that is empty or cannot be printed"


def _no_word(what: str, value: str, known: tuple[str, ...]) -> Iterator[str]:
    if value not in known:
        yield f"{what}: expected {' or '.join(known)}, got {value[:40]!r}"


def _beyond(what: str, value: float, least: float, most: float) -> Iterator[str]:
    if not least <= value <= most:  # false of NaN as well
        yield f"{what}: expected {least:g} to {most:g}, got {str(value)[:24]}"
