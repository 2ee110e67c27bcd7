"""ONNX in float16 throughout: the importer of 2021 keeps the types it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeyolo.errors import UnsupportedTargetError


def half_precision(path: Path) -> bytes:
    """The ONNX file with float16 weights, activations, input and outputs.

    Raises where a weight does not fit.
    """
    import onnx
    from onnx import TensorProto, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    # The scales of Resize are float32 by the standard, whatever is resized.
    kept = {name for node in graph.node if node.op_type == "Resize" for name in node.input[1:3]}
    constants = [
        (node.output[0], attribute.t)
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    for name, tensor in [*((each.name, each) for each in graph.initializer), *constants]:
        if tensor.data_type != TensorProto.FLOAT or name in kept:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
            raise UnsupportedTargetError(f"{name} holds values beyond 65504, the largest of float16")
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
    for port in [*graph.input, *graph.output]:
        port.type.tensor_type.elem_type = TensorProto.FLOAT16
    del graph.value_info[:]  # inferred anew
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
