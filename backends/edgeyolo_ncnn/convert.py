"""A network of plain convolutions in ONNX as ncnn's layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import UnsupportedTargetError
from edgeyolo_ncnn.files import Layer, Setting, tagged, tagged_integers, untagged

if TYPE_CHECKING:
    import onnx

Floats = NDArray[np.float32]
_ADD, _MULTIPLY = 0, 2  # BinaryOp
_RELU, _LEAKY, _CLIP = 1, 2, 3  # what a convolution does to its sums
_MAXIMUM = 0  # Pooling


@dataclass(frozen=True)
class Steps:
    """Steps of a convolution in integers.

    One for what it takes, and (out channels,) for its weights: value = integer * step, symmetric int8.
    """

    taken: float
    weights: Floats


def to_layers(
    model: onnx.ModelProto, steps: Mapping[str, Steps], *, half: bool = False
) -> tuple[list[Layer], tuple[str, ...]]:
    """The layers, and the names of the outputs.

    Args:
        model: raw heads of plain convolutions, batch 1, float32.
        steps: of the convolutions that are in integers, by the name of the node.
        half: weights in float16.

    Raises:
        UnsupportedTargetError: an operator that there is no layer for; weights beyond float16's range.
    """
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    given = next(each for each in graph.input if each.name not in constants)
    sides = [side.dim_value for side in given.type.tensor_type.shape.dim]
    writer = _Writer(constants, steps, half, tuple(each.name for each in graph.output))
    for node in graph.node:
        for name in node.input:
            writer.takers.setdefault(name, []).append(node)
    writer.layers.append(
        Layer("Input", given.name, (), (given.name,), {0: sides[3], 1: sides[2], 2: sides[1]})
    )
    for node in graph.node:
        if node.output[0] in writer.done:
            continue
        if node.op_type not in _WRITERS:
            raise UnsupportedTargetError(f"{node.op_type} {node.name}: there is no layer of ncnn for it here")
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        _WRITERS[node.op_type](writer, node, attributes)
    return writer.layers, writer.outputs


@dataclass
class _Writer:
    constants: Mapping[str, NDArray[Any]]
    steps: Mapping[str, Steps]
    half: bool
    outputs: tuple[str, ...]
    takers: dict[str, list[Any]] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    done: set[str] = field(default_factory=set)  # tensors of nodes that an earlier layer does the work of

    def add(self, kind: str, node: Any, settings: Mapping[int, Setting] = {}, weights: bytes = b"") -> None:
        taken = tuple(name for name in node.input if name and name not in self.constants)
        self.layers.append(Layer(kind, str(node.output[0]), taken, (str(node.output[0]),), settings, weights))

    def follower(self, name: str) -> Any:
        """The one node that takes a tensor.

        None where there are several, or it is an output.
        """
        found = self.takers.get(name, [])
        return found[0] if len(found) == 1 and name not in self.outputs else None


def _convolution(writer: _Writer, node: Any, attributes: dict[str, Any]) -> None:
    weight = np.asarray(writer.constants[node.input[1]], np.float32)
    bias = np.asarray(writer.constants[node.input[2]], np.float32) if len(node.input) > 2 else None
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    rows, columns = attributes.get("strides", [1, 1])
    height, width = attributes.get("dilations", [1, 1])
    settings: dict[int, Setting] = {
        0: weight.shape[0], 1: weight.shape[3], 11: weight.shape[2], 2: width, 12: height, 3: columns, 13: rows,
        4: left, 14: top, 15: right, 16: bottom, 5: int(bias is not None), 6: weight.size,
    }  # fmt: skip
    groups = attributes.get("group", 1)
    if groups > 1:
        settings[7] = groups
    data = _weights(writer, node, weight, settings, bias)
    output = str(node.output[0])
    follower = writer.follower(output)
    if follower is not None and follower.op_type in _FUSED:
        settings[9], numbers = _FUSED[follower.op_type](writer, follower)
        if numbers:
            settings[10] = numbers
        output = str(follower.output[0])
        writer.done.add(output)
    kind = "ConvolutionDepthWise" if groups > 1 else "Convolution"
    writer.layers.append(Layer(kind, str(node.output[0]), (str(node.input[0]),), (output,), settings, data))


def _limits(writer: _Writer, node: Any) -> tuple[float, float]:
    """The least and the largest value of a Clip."""
    low, high = (float(writer.constants[name]) for name in node.input[1:3])
    return low, high


def _slope(node: Any) -> float:
    return float(next((each.f for each in node.attribute if each.name == "alpha"), 0.01))


# Activation functions that a convolution takes in: their kind there, and their numbers.
_FUSED: Mapping[str, Callable[[_Writer, Any], tuple[int, tuple[float, ...]]]] = {
    "Clip": lambda writer, node: (_CLIP, _limits(writer, node)),
    "LeakyRelu": lambda writer, node: (_LEAKY, (_slope(node),)),
    "Relu": lambda writer, node: (_RELU, ()),
}


def _weights(
    writer: _Writer, node: Any, weight: Floats, settings: dict[int, Setting], bias: Floats | None
) -> bytes:
    steps, groups = writer.steps.get(node.name), settings.get(7, 1)
    tail = untagged(bias) if bias is not None else b""
    # Groups of several channels stay in float: ncnn 1.0.20261020's integers gave maps 0.85 away (x50-csp), of one 0.1.
    if steps is not None and groups in (1, len(weight)):
        # int8, with scales behind the weights: one an output channel, which is a group where there are groups.
        from edgeyolo_calib.quantize.even_sums import with_even_sums

        settings[8] = 2 if groups == 1 else 1
        rounded = with_even_sums(weight, steps.weights) / steps.weights[:, None, None, None]
        levels = np.rint(rounded).astype(np.int8)
        scales = np.array([*(1 / steps.weights), 1 / steps.taken], np.float32)
        return tagged_integers(levels) + tail + untagged(scales)
    if writer.half and np.abs(weight).max() > np.finfo(np.float16).max:
        raise UnsupportedTargetError(
            f"{node.input[1]} has values up to {np.abs(weight).max():.3g}; float16 ends at 65504",
            hint="Export for cpu-ncnn-fp32, or train with weight decay.",
        )
    return tagged(weight, half=writer.half) + tail


def _sigmoid(writer: _Writer, node: Any, attributes: dict[str, Any]) -> None:
    """SiLU is a layer of its own; what stays is a sigmoid."""
    taken = node.input[0]
    multiply = writer.follower(node.output[0])
    if multiply is not None and multiply.op_type == "Mul" and set(multiply.input) == {taken, node.output[0]}:
        output = str(multiply.output[0])
        writer.done.add(output)
        writer.layers.append(Layer("Swish", output, (str(taken),), (output,)))
        return
    writer.add("Sigmoid", node)


def _pool(writer: _Writer, node: Any, attributes: dict[str, Any]) -> None:
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    height, width = attributes["kernel_shape"]
    rows, columns = attributes.get("strides", [1, 1])
    if attributes.get("ceil_mode"):
        raise UnsupportedTargetError(f"{node.op_type} {node.name}: sizes that are rounded up are not written")
    settings: dict[int, Setting] = {
        0: _MAXIMUM, 1: width, 11: height, 2: columns, 12: rows, 3: left, 13: top, 14: right, 15: bottom, 5: 1,
    }  # fmt: skip
    writer.add("Pooling", node, settings)


def _concat(writer: _Writer, node: Any, attributes: dict[str, Any]) -> None:
    writer.add("Concat", node, {0: attributes["axis"] - 1 if attributes["axis"] > 0 else attributes["axis"]})


def _resize(writer: _Writer, node: Any, attributes: dict[str, Any]) -> None:
    scales = writer.constants.get(node.input[2]) if len(node.input) > 2 else None
    mode = attributes.get("mode", b"nearest")
    if mode != b"nearest" or scales is None or len(scales) != 4:
        raise UnsupportedTargetError(f"Resize {node.name}: the nearest pixel by constant factors is expected")
    writer.add("Interp", node, {0: 1, 1: float(scales[2]), 2: float(scales[3])})


def _slice(writer: _Writer, node: Any, attributes: dict[str, Any]) -> None:
    """Every so-manieth row and column.

    ncnn slices without strides, so a convolution of ones and zeros picks them.
    """
    starts, _, axes, steps = (writer.constants[name].tolist() for name in node.input[1:5])
    picked = {axis % 4: (start, step) for start, axis, step in zip(starts, axes, steps, strict=True)}
    if not set(picked) <= {2, 3} or not all(0 <= start < step for start, step in picked.values()):
        raise UnsupportedTargetError(f"Slice {node.name}: every so-manieth row or column is expected")
    (row, rows), (column, columns) = (picked.get(axis, (0, 1)) for axis in (2, 3))
    channels = next(layer for layer in writer.layers if layer.kind == "Input").settings[2]
    assert isinstance(channels, int)
    picks = np.zeros((channels, 1, row + 1, column + 1), np.float32)
    picks[:, :, -1, -1] = 1
    settings: dict[int, Setting] = {
        0: channels, 1: column + 1, 11: row + 1, 2: 1, 12: 1, 3: columns, 13: rows, 5: 0, 6: picks.size, 7: channels,
    }  # fmt: skip
    writer.add("ConvolutionDepthWise", node, settings, tagged(picks, half=writer.half))


_WRITERS: Mapping[str, Callable[[_Writer, Any, dict[str, Any]], None]] = {
    "Add": lambda writer, node, _: writer.add("BinaryOp", node, {0: _ADD}),
    "Clip": lambda writer, node, _: writer.add("Clip", node, dict(enumerate(_limits(writer, node)))),
    "Concat": _concat,
    "Conv": _convolution,
    "LeakyRelu": lambda writer, node, _: writer.add("ReLU", node, {0: _slope(node)}),
    "MaxPool": _pool,
    "Mul": lambda writer, node, _: writer.add("BinaryOp", node, {0: _MULTIPLY}),
    "Relu": lambda writer, node, _: writer.add("ReLU", node),
    "Resize": _resize,
    "Sigmoid": _sigmoid,
    "Slice": _slice,
}
