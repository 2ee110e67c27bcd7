"""Gain of the boxes in integer maps.

An integer map has one scale for all its channels. Scores need it from -6 to 6; boxes of objects hardly leave +-3.5, and
a step of 0.047 makes a box of its anchor's size a twentieth larger. Stored as large as there is room for, they take as
many more of the steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import RawMaps
from edgeyolo.backend.profile import MAP_REACH
from edgeyolo_tflite import flatbuffer, toolkit
from edgeyolo_tflite.convert import METADATA, describe

MOST = 4.0
OBJECT = -3.0
"""Objectness logit above which a cell's box counts: sigmoid(-3) is 0.05, below which hardly a box becomes a hit."""
COVERED = 0.999
"""Share of those boxes' logits that stay within the reach; the others are cut, as a score's are."""


def box_gain(model: bytes, batches: Iterable[NDArray[np.float32]], output: RawMaps) -> float:
    """Gain that spreads the boxes of objects over the reach of integer maps.

    Args:
        model: a float32 file.
        batches: calibration images as it takes them.
        output: its maps; channels last, (n, rows, columns, anchors * (5 + classes)).

    1 to MOST, rounded to two digits; 1 where no image shows an object.
    """
    with toolkit.quiet():
        interpreter = Interpreter(model_content=model)
        interpreter.allocate_tensors()
    (entry,) = (item["index"] for item in interpreter.get_input_details())
    maps = [item["index"] for item in interpreter.get_output_details() if item["name"] in output.names]
    sizes: list[NDArray[np.float32]] = []
    for batch in batches:
        interpreter.set_tensor(entry, batch)
        interpreter.invoke()
        for index in maps:
            cells = interpreter.get_tensor(index).reshape(-1, 5 + output.classes)
            sizes.append(np.abs(cells[cells[:, 4] > OBJECT, :4]).ravel())
    found = np.concatenate(sizes)
    if not len(found):
        return 1.0
    return round(float(np.clip(MAP_REACH / np.quantile(found, COVERED), 1.0, MOST)), 2)


def with_box_gain(model: bytes, output: RawMaps, gain: float) -> bytes:
    """A float32 file whose maps have their boxes times `gain`.

    The weights of its last convolutions make them so, and its metadata says it.
    """
    tree = flatbuffer.read(model)
    factor = np.where(np.arange(5 + output.classes) < 4, gain, 1).astype(np.float32)
    for kind, operator in flatbuffer.operators(tree):
        (made,) = flatbuffer.tensors(tree, operator.outputs[:1])
        if flatbuffer.name(made) in output.names:
            assert kind == "CONV_2D", kind  # a head ends with one
            _, *constants = flatbuffer.tensors(tree, operator.inputs)
            for constant in constants:
                _scale(tree.buffers[constant.buffer], factor, output)
    _describe_gain(tree, gain)
    return flatbuffer.write(tree)


def _scale(buffer: Any, factor: NDArray[np.float32], output: RawMaps) -> None:
    """Multiply constants whose first axis are a map's channels."""
    values = np.frombuffer(bytes(buffer.data), np.float32).reshape(len(output.anchors[0]), len(factor), -1)
    buffer.data = np.frombuffer((values * factor[:, None]).tobytes(), np.uint8)


def _describe_gain(tree: Any, gain: float) -> None:
    (item,) = (item for item in tree.metadata if flatbuffer.text(item.name) == METADATA)
    said = json.loads(bytes(tree.buffers[item.buffer].data))
    tree.metadata.remove(item)
    describe(tree, METADATA, {**said, "box_gain": gain})
