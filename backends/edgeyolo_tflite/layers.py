"""Layers of a TFLite file beside those of the ONNX file of the same network.

Both hold the same convolutions, and are matched by their weights: names are each converter's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeyolo.errors import EdgeYoloError, UnsupportedTargetError
from edgeyolo_tflite import flatbuffer

if TYPE_CHECKING:
    from edgeyolo_calib.onnx_graph import Graph
    from edgeyolo_calib.quantize.rules import Unit

_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_ACTIVATIONS = frozenset({"LEAKY_RELU", "LOGISTIC", "MUL", "RELU", "RELU6"})


def onnx_names(model: Any, graph: Graph) -> dict[str, str]:
    """ONNX names of tensors, by their names in the TFLite file.

    They are what convolutions, activation functions and additions give.

    Raises EdgeYoloError where a convolution of either file has no counterpart.
    """
    waiting = _units_by_weight(graph)
    found: dict[str, str] = {}
    for weight, tensors in _layers(model):
        if not waiting[weight]:
            raise EdgeYoloError(f"{tensors[0]}: no convolution of the ONNX file has these weights")
        names = _tensors_of(waiting[weight].pop(0))
        # A RELU that is part of the convolution has no tensor between them.
        found.update(zip(tensors[::-1], names[::-1], strict=False))
    if left := [unit.output for units in waiting.values() for unit in units]:
        raise EdgeYoloError(f"{left[0]}: no convolution of the TFLite file has these weights")
    return found | _additions(model, graph, found)


def float_tensors(model: Any, exported: Path, floats: Collection[str]) -> frozenset[str]:
    """Tensors of the TFLite file that stay in float.

    They are those of the layers `floats` and of the last convolutions. A layer is named by its last tensor in the ONNX
    file `exported`. What only float operators take is float too, but for convolutions (see
    `edgeyolo_calib.quantize.rules.place`).

    Raises UnsupportedTargetError where there is no such layer.
    """
    import onnx

    from edgeyolo_calib.onnx_graph import Graph, constants_as_weights
    from edgeyolo_calib.quantize.rules import units

    graph = Graph(constants_as_weights(onnx.load(exported)))
    names = onnx_names(model, graph)
    inside = {unit.output: _tensors_of(unit) for unit in units(graph)}
    if missing := sorted(set(floats) - inside.keys()):
        raise UnsupportedTargetError(
            f"{', '.join(missing)} should stay in float, and the network has no such layer",
            hint="The layers were chosen on another network: edgeyolo calibrate --target ...",
        )
    chosen = {name for layer in floats for name in inside[layer]}
    found = {tensor for tensor, name in names.items() if name in chosen or name in graph.outputs}
    takers: dict[str, list[str]] = defaultdict(list)
    for kind, operator in reversed(list(flatbuffer.operators(model))):
        given, taken = _ends(model, operator)
        if kind not in _CONVOLUTIONS and takers[given] and found.issuperset(takers[given]):
            found.add(given)
        for name in taken:
            takers[name].append(given)
    return frozenset(found)


def _ends(model: Any, operator: Any) -> tuple[str, list[str]]:
    """Output of an operator, and its inputs."""
    (given,), taken = (flatbuffer.tensors(model, each) for each in (operator.outputs, operator.inputs))
    return flatbuffer.name(given), [flatbuffer.name(each) for each in taken]


def _units_by_weight(graph: Graph) -> dict[bytes, list[Unit]]:
    """Units with equal weights stand in the graph's order."""
    from edgeyolo_calib.quantize.rules import units

    found: dict[bytes, list[Unit]] = defaultdict(list)
    for unit in units(graph):
        weight = graph.array(unit.conv.input[1])
        axes = (1, 2, 3, 0) if _is_depthwise(unit.conv, weight) else (0, 2, 3, 1)
        found[weight.transpose(axes).tobytes()].append(unit)
    return found


def _is_depthwise(conv: Any, weight: Any) -> bool:
    """Tell a convolution of one channel a group.

    It is TFLite's DEPTHWISE_CONV_2D, whose weight is (1, height, width, out).
    """
    groups = next((each.i for each in conv.attribute if each.name == "group"), 1)
    return bool(groups == len(weight) > 1)


def _tensors_of(unit: Unit) -> list[str]:
    """Outputs of the convolution and of its activation function's operators."""
    return [str(node.output[0]) for node in (unit.conv, *unit.activation)]


def _layers(model: Any) -> Iterator[tuple[bytes, list[str]]]:
    """Each convolution's weight, and its tensors.

    The weight is (out, height, width, in), of a depthwise one (1, height, width, out). The tensors are what it and its
    activation function give.
    """
    takers: dict[int, dict[str, Any]] = defaultdict(dict)
    for kind, operator in flatbuffer.operators(model):
        for index in operator.inputs:
            takers[index][kind] = operator
    for kind, operator in flatbuffer.operators(model):
        if kind in _CONVOLUTIONS:
            _, weight, *_ = flatbuffer.tensors(model, operator.inputs)
            behind = takers[operator.outputs[0]]
            inside = sorted(behind) if behind.keys() <= _ACTIVATIONS else ()  # LOGISTIC before MUL
            ends = [operator.outputs[0], *(behind[each].outputs[0] for each in inside)]
            data = bytes(model.buffers[weight.buffer].data)
            yield data, [flatbuffer.name(each) for each in flatbuffer.tensors(model, ends)]


def _additions(model: Any, graph: Graph, known: Mapping[str, str]) -> dict[str, str]:
    sums = {frozenset(node.input): node.output[0] for node in graph.nodes if node.op_type == "Add"}
    found: dict[str, str] = {}
    for kind, operator in flatbuffer.operators(model):
        if kind == "ADD":
            taken = [flatbuffer.name(each) for each in flatbuffer.tensors(model, operator.inputs)]
            terms = frozenset(found.get(name) or known.get(name, name) for name in taken)
            (given,) = flatbuffer.tensors(model, operator.outputs)
            found[flatbuffer.name(given)] = sums[terms]
    return found
