"""Conversion of a float32 ONNX graph to the same graph typed float16.

Every TensorRT from 8.5 to 11 is told "FP16" this way.

TensorRT 11 took the FP16 builder flag away and obeys the graph's own types (strong typing); the versions before
accept such a graph too. Weights and activations become float16. Inputs and outputs stay float32, with a Cast at each
border, so that a caller sees the same contract in both precisions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from edgeyolo.errors import UnsupportedTargetError

if TYPE_CHECKING:
    import onnx

# Operator -> inputs (by position) that the ONNX standard keeps float32 whatever the type of the data
# (https://onnx.ai/onnx/operators/onnx__Resize.html: scales are tensor(float)).
HALF_OPERATORS: dict[str, tuple[int, ...]] = {
    "Add": (),
    "AveragePool": (),
    "BatchNormalization": (),
    "Clip": (),
    "Concat": (),
    "Conv": (),
    "ConvTranspose": (),
    "DepthToSpace": (),
    "DequantizeLinear": (),
    "Div": (),
    "GlobalAveragePool": (),
    "HardSwish": (),
    "Identity": (),
    "LeakyRelu": (),
    "MaxPool": (),
    "Mul": (),
    "Pad": (),
    "QuantizeLinear": (),
    "Relu": (),
    "Reshape": (),
    "Resize": (1, 2),
    "Sigmoid": (),
    "Slice": (),
    "SpaceToDepth": (),
    "Split": (),
    "Squeeze": (),
    "Sub": (),
    "Transpose": (),
    "Unsqueeze": (),
}
LARGEST = float(np.finfo(np.float16).max)  # 65504


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` with float16 weights and activations.

    Names of inputs and outputs and their float32 stay.

    Raises:
        UnsupportedTargetError: an operator that this pass does not know, or a weight outside float16's range.
    """
    import onnx

    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    _refuse_unknown(graph.node)
    names = {tensor.name for tensor in graph.initializer}
    kept = _kept_inputs(graph.node)
    renamed = _cast_borders(graph, names)
    for tensor in list(graph.initializer):
        _halve_weight(graph, tensor, kept.get(tensor.name, set()))
    del graph.value_info[:]  # they say float32; nothing downstream needs them
    _rename(graph.node, renamed)
    onnx.checker.check_model(half, full_check=True)
    return half


def _refuse_unknown(nodes: Iterable[onnx.NodeProto]) -> None:
    unknown = sorted({node.op_type for node in nodes if node.op_type not in HALF_OPERATORS or node.domain})
    if unknown:
        raise UnsupportedTargetError(
            f"the graph holds {', '.join(unknown)}: how these are typed in float16 is not known here",
            hint="Export for an fp32 target, or add the operator to HALF_OPERATORS in edgeyolo_tensorrt/half.py.",
        )


def _kept_inputs(nodes: Iterable[onnx.NodeProto]) -> dict[str, set[str]]:
    """Initializer name -> {"kept", "halved"}, by the positions it is used at."""
    uses: dict[str, set[str]] = {}
    for node in nodes:
        for position, name in enumerate(node.input):
            kept = position in HALF_OPERATORS[node.op_type]
            uses.setdefault(name, set()).add("kept" if kept else "halved")
    return uses


def _cast_borders(graph: onnx.GraphProto, initializers: set[str]) -> dict[str, str]:
    """Put a Cast behind every float32 input and before every float32 output.

    Returns the tensors' new names.
    """
    import onnx

    renamed, before, after = {}, [], []
    for value in graph.input:
        if value.name not in initializers and value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            renamed[value.name] = f"{value.name}_half"
            before.append(_cast(value.name, renamed[value.name], onnx.TensorProto.FLOAT16))
    for value in graph.output:
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            renamed[value.name] = f"{value.name}_half"
            after.append(_cast(renamed[value.name], value.name, onnx.TensorProto.FLOAT))
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    return renamed


def _cast(source: str, result: str, kind: int) -> onnx.NodeProto:
    import onnx

    return onnx.helper.make_node("Cast", [source], [result], name=f"cast_{result}", to=kind)


def _rename(nodes: Iterable[onnx.NodeProto], renamed: dict[str, str]) -> None:
    for node in nodes:
        if node.op_type == "Cast" and node.name == f"cast_{node.output[0]}":
            continue  # one of the borders
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                names[position] = renamed.get(name, name)


def _halve_weight(graph: onnx.GraphProto, tensor: onnx.TensorProto, uses: set[str]) -> None:
    import onnx

    if tensor.data_type != onnx.TensorProto.FLOAT or "halved" not in uses:
        return
    name = tensor.name
    values = onnx.numpy_helper.to_array(tensor)
    if not np.abs(values).max(initial=0.0) <= LARGEST:
        raise UnsupportedTargetError(
            f"weight {name} holds {np.abs(values).max():.3g}; float16 reaches {LARGEST:g}",
            hint="Export for an fp32 target, or train with weight decay.",
        )
    if "kept" in uses:  # used as Resize's scales and as data at once: the data get a copy
        copy = onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half")
        graph.initializer.append(copy)
        for node in graph.node:
            for position, used in enumerate(node.input):
                if used == name and position not in HALF_OPERATORS.get(node.op_type, ()):
                    node.input[position] = copy.name
    else:
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), name))
