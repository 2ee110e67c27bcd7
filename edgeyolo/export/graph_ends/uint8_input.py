"""Preprocessing as ONNX operators, before a finished network.

It takes pictures as they lie in memory.

uint8 BGR, channels last, becomes float32 RGB in planes: a quarter of the bytes to hand over, and no pass over floats on
the host. The numbers are those of `edgeyolo.runtime.preprocess`: p times float32(1 / 255).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.errors import EdgeYoloError

if TYPE_CHECKING:
    import onnx

_PREFIX = "pixels/"


def with_pixels(model: onnx.ModelProto, contract: InputContract, *, by_cast: bool = False) -> onnx.ModelProto:
    """Copy of a network that takes uint8 pixels in place of floats.

    The float input `contract` becomes `contract.of_pixels()` under the same name.

    uint8 becomes float by a DequantizeLinear of scale 1 / 255 and zero point 0 or, with `by_cast`, by Cast and Mul, for
    TensorRT, which allows nothing but a Cast behind an input of uint8. Where the network quantizes its input by just
    that scale, the quantizer falls away and the bytes go in as they are.
    """
    import onnx
    from onnx import helper, numpy_helper

    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    graph, given = whole.graph, contract.of_pixels()
    batch: int | str = "batch" if contract.dynamic_batch else contract.batch
    (old,) = (value for value in graph.input if value.name == contract.name)
    old.CopyFrom(
        helper.make_tensor_value_info(contract.name, onnx.TensorProto.UINT8, [batch, *given.shape()[1:]])
    )
    constants = {
        "scale": np.float32(contract.scale),
        "zero": np.uint8(0),
        "channels": np.array([2, 1, 0], np.int64),
    }
    names = {name: f"{_PREFIX}{name}" for name in (*constants, "cast", "planes", "float")}
    names["bytes"], swap = f"{_PREFIX}bytes", given.color_order != contract.color_order

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [output], name=f"{output}/{kind}", **attributes)

    pixels = names["cast"] if by_cast else contract.name
    nodes = [node("Cast", [contract.name], pixels, to=onnx.TensorProto.FLOAT)] if by_cast else []
    nodes.append(node("Transpose", [pixels], names["planes"], perm=[0, 3, 1, 2]))
    planes = names["bytes"] if swap else names["planes"]
    if swap:
        nodes.append(node("Gather", [names["planes"], names["channels"]], planes, axis=1))
    takes_bytes = not by_cast and _drop_quantizer(graph, contract, planes)
    if by_cast:
        nodes.append(node("Mul", [planes, names["scale"]], names["float"]))
    elif not takes_bytes:
        nodes.append(node("DequantizeLinear", [planes, names["scale"], names["zero"]], names["float"]))
    for taker in graph.node:
        for position, name in enumerate(taker.input):
            if name == contract.name:
                taker.input[position] = names["float"]
    # Nodes must stand in the order of their inputs: the new ones come first.
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *kept])
    used = {name for each in graph.node for name in each.input}
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), names[name])
        for name, value in constants.items()
        if names[name] in used
    )
    _describe(whole, given)
    return whole


def _drop_quantizer(graph: onnx.GraphProto, contract: InputContract, planes: str) -> bool:
    """Take out the input's quantizer if it has the pixels' own scale.

    Returns True if it did: only then all that takes the input is this quantizer.
    """
    from onnx import numpy_helper

    constants = {each.name: each for each in graph.initializer}
    takers = [node for node in graph.node if contract.name in node.input]
    for node in takers:
        if node.op_type != "QuantizeLinear" or len(node.input) < 3:
            return False
        scale, zero = (numpy_helper.to_array(constants[name]) for name in node.input[1:3])
        if zero.dtype != np.uint8 or zero.any() or not np.allclose(scale, contract.scale, rtol=1e-6):
            return False
    replaced = {node.output[0] for node in takers}
    for node in takers:
        graph.node.remove(node)
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name in replaced:
                node.input[position] = planes
    return bool(takers)


def _describe(model: onnx.ModelProto, given: InputContract) -> None:
    import onnx

    props = {item.key: item.value for item in model.metadata_props}
    if "color_order" not in props:
        raise EdgeYoloError("the network does not say what its input is")
    onnx.helper.set_model_props(model, props | {"color_order": given.color_order, "scale": "1.0"})
