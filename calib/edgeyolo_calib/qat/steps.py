"""An ONNX graph of the family as a list of torch operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeyolo.errors import UnsupportedTargetError
from edgeyolo_calib.onnx_graph import Graph, module_of

if TYPE_CHECKING:
    import onnx

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class Step:
    """One operator: `node` is its name in the graph, `takes` and `gives` are tensors.

    `module` holds a convolution's weights, `numbers` are what another operator needs besides tensors. `free` are
    tensors that no later step takes.
    """

    node: str
    kind: str
    takes: tuple[str, ...]
    gives: str
    module: str = ""
    numbers: Numbers = ()
    free: tuple[str, ...] = ()


def steps_of(graph: Graph) -> tuple[Step, ...]:
    """The graph's operators in order.

    Raises UnsupportedTargetError for one that is not of the family's.
    """
    last = {name: node.name for node in graph.nodes for name in node.input}
    found = []
    for node in graph.nodes:
        if node.op_type not in _NUMBERS:
            raise UnsupportedTargetError(f"there is no torch form for the operator {node.op_type}")
        takes = tuple(name for name in node.input if name in graph.shapes)
        free = tuple(
            name for name in dict.fromkeys(takes) if last[name] == node.name and name not in graph.outputs
        )
        module = module_of(node.input[1]) if node.op_type == "Conv" else ""
        numbers = _NUMBERS[node.op_type](graph, node)
        found.append(Step(node.name, node.op_type, takes, node.output[0], module, numbers, free))
    return tuple(found)


def compute(kind: str, values: Sequence[Tensor], numbers: Numbers) -> Tensor:
    """Output of an operator other than a convolution."""
    return _OPERATORS[kind](values, numbers)


def _attributes(node: onnx.NodeProto) -> dict[str, Numbers]:
    return {item.name: tuple(item.ints) or (item.f or item.i,) for item in node.attribute}


def _no_numbers(graph: Graph, node: onnx.NodeProto) -> Numbers:
    return ()


def _slope(graph: Graph, node: onnx.NodeProto) -> Numbers:
    return _attributes(node).get("alpha", (0.01,))


def _axis(graph: Graph, node: onnx.NodeProto) -> Numbers:
    return _attributes(node)["axis"]


def _pool(graph: Graph, node: onnx.NodeProto) -> Numbers:
    """Kernel, stride and padding: squares, the same on all sides."""
    found = _attributes(node)
    return found["kernel_shape"][0], found.get("strides", (1,))[0], found.get("pads", (0,))[0]


def _limits(graph: Graph, node: onnx.NodeProto) -> Numbers:
    return tuple(float(graph.array(name)) for name in node.input[1:3])


def _factor(graph: Graph, node: onnx.NodeProto) -> Numbers:
    return (graph.shapes[node.output[0]][2] / graph.shapes[node.input[0]][2],)


def _cut(graph: Graph, node: onnx.NodeProto) -> Numbers:
    """Start, end, axis and step of each axis that is cut, one after another."""
    parts = [np.ravel(graph.array(name)).tolist() for name in node.input[1:]]
    starts, ends = parts[:2]
    axes = parts[2] if len(parts) > 2 else list(range(len(starts)))
    steps = parts[3] if len(parts) > 3 else [1] * len(starts)
    return tuple(number for cut in zip(starts, ends, axes, steps, strict=True) for number in cut)


_NUMBERS: Mapping[str, Callable[[Graph, onnx.NodeProto], Numbers]] = MappingProxyType(
    {
        "Conv": _no_numbers, "Relu": _no_numbers, "Sigmoid": _no_numbers, "Mul": _no_numbers, "Add": _no_numbers,
        "LeakyRelu": _slope, "Clip": _limits, "Concat": _axis, "MaxPool": _pool, "Resize": _factor, "Slice": _cut,
    }
)  # fmt: skip


def _max_pool(values: Sequence[Tensor], numbers: Numbers) -> Tensor:
    kernel, stride, padding = (int(number) for number in numbers)
    return F.max_pool2d(values[0], kernel, stride, padding)


def _slice(values: Sequence[Tensor], numbers: Numbers) -> Tensor:
    x = values[0]
    for at in range(0, len(numbers), 4):
        start, end, axis, step = (int(number) for number in numbers[at : at + 4])
        index = [slice(None)] * x.ndim
        index[axis] = slice(start, end, step)
        x = x[tuple(index)]
    return x


_OPERATORS: Mapping[str, Callable[[Sequence[Tensor], Numbers], Tensor]] = MappingProxyType(
    {
        "Relu": lambda values, _: F.relu(values[0]),
        "Sigmoid": lambda values, _: torch.sigmoid(values[0]),
        "Mul": lambda values, _: values[0] * values[1],
        "Add": lambda values, _: values[0] + values[1],
        "Clip": lambda values, numbers: values[0].clamp(numbers[0], numbers[1]),
        "LeakyRelu": lambda values, numbers: F.leaky_relu(values[0], numbers[0]),
        "Concat": lambda values, numbers: torch.cat(list(values), int(numbers[0])),
        "MaxPool": _max_pool,
        "Resize": lambda values, numbers: F.interpolate(values[0], scale_factor=numbers[0], mode="nearest"),
        "Slice": _slice,
    }
)
