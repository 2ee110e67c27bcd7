"""Integers simulated in float: the network with some of its layers quantized, to be run anywhere and compared.

The values are those of the Q/DQ graph that `qdq` writes (but for the rounding of biases to 32-bit integers); only the
arithmetic between them is float. No integer kernel, and no quirk of one, is in what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeyolo_calib.graph import Graph
from edgeyolo_calib.ranges import INT8, Scheme, weight_scales
from edgeyolo_calib.rules import Placement, Rules

if TYPE_CHECKING:
    import onnx


def simulated(
    graph: Graph,
    placement: Placement,
    ranges: Mapping[str, tuple[float, float]],
    rules: Rules,
    weights: Mapping[str, NDArray[np.float32]],
) -> onnx.ModelProto:
    """A copy of the float graph that rounds what `placement` names.

    Args:
        graph: the float network.
        placement: which nodes and tensors; see `rules.place`.
        ranges: (low, high) of every tensor of the placement; see `qdq.settle`.
        rules: of the runtime.
        weights: the rounded weights by initializer's name; see `rounded_weights`.
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    taken = {node.input[1] for node in graph.nodes if node.op_type == "Conv" and node.name in placement.nodes}
    for tensor in model.graph.initializer:
        if tensor.name in taken:
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights[tensor.name], tensor.name))
    pairs: dict[str, list[onnx.NodeProto]] = {}
    for name in placement.tensors:
        pairs[name] = _pair(model, name, rules, *ranges[name])
    outputs = set(graph.outputs)
    nodes = [node for name in graph.inputs for node in pairs.get(name, ())]
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name in pairs:
                node.input[index] = _rounded(name)
        nodes.append(node)
        nodes += [each for name in node.output for each in pairs.get(name, ())]
    for node in nodes:  # a raw map that is rounded keeps its name: it is the graph's output
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            _rename(node.output, {name: f"{name}.exact" for name in outputs & pairs.keys()})
        elif node.op_type == "QuantizeLinear":
            _rename(node.input, {name: f"{name}.exact" for name in outputs & pairs.keys()})
        else:
            _rename(node.output, {_rounded(name): name for name in outputs & pairs.keys()})
        _rename(node.input, {_rounded(name): name for name in outputs & pairs.keys()})
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def rounded_weights(graph: Graph, rules: Rules, scheme: Scheme) -> dict[str, NDArray[np.float32]]:
    """Every convolution's weight (out, in, kh, kw), put on the integers that `qdq` would and back."""
    found = {}
    for node in graph.nodes:
        if node.op_type == "Conv":
            weight = graph.array(node.input[1])
            scales = weight_scales(weight, scheme.weights, per_channel=rules.per_channel).reshape(-1, 1, 1, 1)
            found[node.input[1]] = (np.clip(np.rint(weight / scales), INT8.low, INT8.high) * scales).astype(
                np.float32
            )
    return found


def _pair(model: onnx.ModelProto, name: str, rules: Rules, low: float, high: float) -> list[onnx.NodeProto]:
    """Q and DQ behind a tensor; their constants are added to the model."""
    import onnx

    scale, zero = rules.grid.place(low, high)
    kind = np.int8 if rules.grid.symmetric else np.uint8
    for suffix, value in ((".scale", np.array(scale)), (".zero", np.array(zero, kind))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name + suffix))
    constants = [name + ".scale", name + ".zero"]
    return [
        onnx.helper.make_node("QuantizeLinear", [name, *constants], [f"{name}.integers"], f"{name}.Q"),
        onnx.helper.make_node(
            "DequantizeLinear", [f"{name}.integers", *constants], [_rounded(name)], f"{name}.DQ"
        ),
    ]


def _rounded(name: str) -> str:
    return f"{name}.rounded"


def _rename(names: list[str], new: Mapping[str, str]) -> None:
    for index, name in enumerate(names):
        if name in new:
            names[index] = new[name]
