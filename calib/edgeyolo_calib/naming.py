"""Names of tensors that say where they come from, so that they are the same whichever exporter wrote the graph."""

from __future__ import annotations

import numpy as np

from edgeyolo_calib.graph import Graph

_COMMUTES = frozenset({"Add", "Mul"})


def stable_names(graph: Graph) -> dict[str, str]:
    """Each tensor's name in the graph -> a name made of operators and of the modules that hold the weights.

    A convolution's output is called as its module ("backbone.0.down.conv.conv"), others are operators on such names:
    "MaxPool2(LeakyRelu(backbone.0.elan.twins.0.transition.conv))". Exporters of any opset give networks of the family
    the same operators, but number tensors as they like.
    """
    names = {name: name for name in graph.inputs}
    for node in graph.nodes:
        if node.op_type == "Conv":
            names[node.output[0]] = module_of(node.input[1])
            continue
        if not node.input:  # a constant
            continue
        taken = [names[name] for name in node.input if name in names]
        if node.op_type in _COMMUTES:
            taken.sort()
        kind = node.op_type
        if kind == "MaxPool":
            kind += str(next(item.ints[0] for item in node.attribute if item.name == "kernel_shape"))
        elif kind == "Slice":
            kind += "/".join(str(np.ravel(graph.array(name)).tolist()) for name in node.input[1:] if name)
        for number, output in enumerate(node.output):
            names[output] = f"{kind}({', '.join(taken)})" + (f".{number}" if number else "")
    return names


def module_of(weight: str) -> str:
    """The path of the module that holds a convolution's weight, from the weight's name."""
    return weight.removesuffix(".weight")
