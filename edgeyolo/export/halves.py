"""Weights stored in float16, arithmetic in float32.

Half the file, and the float32 graph once it is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeyolo.errors import UnsupportedTargetError

if TYPE_CHECKING:
    import onnx

LEAST = 256  # values; smaller tensors would not be smaller with a node beside them
# Products of an output: roundings of fewer do not cancel. Depthwise convolutions are 2 % of a network's values, and
# were most of what float16 changed in the maps (efficientnet-lite0-pan, generated pictures: 0.023, 0.007 without).
LEAST_PRODUCTS = 64


def with_halves(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the larger float32 initializers rounded to float16.

    A Cast to float32 follows each.

    ONNX Runtime folds the casts when it loads the file, so what it runs is the float32 graph. Biases stay: they
    are few, and are added to sums of many products; so do the weights of sums of few.

    Raises UnsupportedTargetError for weights beyond float16's range, which would become infinite.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    given, model = model, onnx.ModelProto()
    model.CopyFrom(given)
    casts = []
    for initializer in model.graph.initializer:
        values = numpy_helper.to_array(initializer)
        if values.dtype != np.float32 or values.ndim < 2 or values.size < LEAST:
            continue
        if values[0].size < LEAST_PRODUCTS:
            continue
        with np.errstate(over="ignore"):
            rounded = values.astype(np.float16)
        if not np.isfinite(rounded).all():
            raise UnsupportedTargetError(
                f"{initializer.name} has values up to {np.abs(values).max():.3g}; float16 ends at 65504",
                hint="Export for a target of float32, or train with weight decay.",
            )
        name = initializer.name
        initializer.CopyFrom(numpy_helper.from_array(rounded, f"{name}/half"))
        casts.append(
            helper.make_node("Cast", [f"{name}/half"], [name], name=f"{name}/cast", to=TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]  # in the order of execution, as ONNX demands
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model
