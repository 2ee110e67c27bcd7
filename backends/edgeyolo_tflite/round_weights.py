"""Rounding of a float32 file's weights so that errors cancel.

The quantizer takes the nearest level of each weight, which is then its own.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from edgeyolo_tflite import flatbuffer

# Axes of (out, in, height, width) in a file's weights, and the way back.
_AXES = {"CONV_2D": ((0, 3, 1, 2), (0, 2, 3, 1)), "DEPTHWISE_CONV_2D": ((3, 0, 1, 2), (1, 2, 3, 0))}


def round_weights(model: Any, floats: Collection[str]) -> None:
    """Round every convolution's weights to symmetric int8.

    There is a scale for each output channel. They stay float32, on levels that the quantizer finds again. `floats` are
    tensors: what gives one keeps its weights.
    """
    from edgeyolo_calib.quantize.even_sums import with_even_sums
    from edgeyolo_calib.ranges.ranges import weight_scales

    for kind, operator in flatbuffer.operators(model):
        (given,) = flatbuffer.tensors(model, operator.outputs[:1])
        if kind not in _AXES or flatbuffer.name(given) in floats:
            continue
        _, weight, *_ = flatbuffer.tensors(model, operator.inputs)
        to_filters, back = _AXES[kind]
        buffer = model.buffers[weight.buffer]
        filters = np.frombuffer(bytes(buffer.data), np.float32).reshape(weight.shape).transpose(to_filters)
        rounded = with_even_sums(filters, weight_scales(filters)).transpose(back)
        buffer.data = np.frombuffer(rounded.tobytes(), np.uint8)
