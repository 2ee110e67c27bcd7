"""Integers simulated in float.

The network with some of its layers quantized, to be run anywhere and compared.

The values are those of the Q/DQ graph that `qdq` writes (but for the rounding of biases to 32-bit integers); only the
arithmetic between them is float. No integer kernel, and no quirk of one, is in what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeyolo_calib.onnx_graph import Graph
from edgeyolo_calib.quantize.even_sums import to_nearest, with_even_sums
from edgeyolo_calib.quantize.rules import Placement, Rules
from edgeyolo_calib.ranges.ranges import Grid, weight_scales

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
    # A raw map that is rounded keeps its name, for it is the graph's output; others get another behind the rounding.
    exact = {name: f"{name}.exact" for name in graph.outputs if name in placement.tensors}
    rounded = {name: name if name in exact else f"{name}.rounded" for name in placement.tensors}
    pairs = {
        name: _pair(model, name, (exact.get(name, name), rounded[name]), rules.grid, ranges[name])
        for name in placement.tensors
    }
    nodes = [node for name in graph.inputs for node in pairs.get(name, ())]
    for node in model.graph.node:
        made = list(node.output)
        _rename(node.input, rounded)
        _rename(node.output, exact)
        nodes += [node, *(each for name in made for each in pairs.get(name, ()))]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def rounded_weights(graph: Graph, rules: Rules) -> dict[str, NDArray[np.float32]]:
    """Every convolution's weight (out, in, kh, kw), rounded to integers.

    They are those that `qdq` would use, turned back to float.
    """
    found = {}
    for node in graph.nodes:
        if node.op_type == "Conv":
            weight = graph.array(node.input[1])
            scales = weight_scales(weight, per_channel=rules.per_channel)
            found[node.input[1]] = (with_even_sums if rules.even_sums else to_nearest)(weight, scales)
    return found


def _pair(
    model: onnx.ModelProto, name: str, ends: tuple[str, str], grid: Grid, limits: tuple[float, float]
) -> list[onnx.NodeProto]:
    """Q and DQ behind a tensor, from the first of `ends` to the second.

    Their constants are added to the model.
    """
    import onnx

    constants = [name + ".scale", name + ".zero"]
    for constant, value in zip(constants, grid.constants(*limits), strict=True):
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, constant))
    integers = f"{name}.integers"
    return [
        onnx.helper.make_node("QuantizeLinear", [ends[0], *constants], [integers], f"{name}.Q"),
        onnx.helper.make_node("DequantizeLinear", [integers, *constants], [ends[1]], f"{name}.DQ"),
    ]


def _rename(names: list[str], new: Mapping[str, str]) -> None:
    for index, name in enumerate(names):
        if name in new:
            names[index] = new[name]
