"""Makers and takers of every channel of a plain network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeyolo_calib.onnx_graph import Graph

if TYPE_CHECKING:
    import onnx

Channel = tuple[str, int]
"""A convolution, by its output tensor, and the number of one of its output channels."""

_KEEPING = frozenset({"LeakyRelu", "Relu", "MaxPool", "Resize"})
"""f(s x) = s f(x) for s > 0 (positively homogeneous), channel by channel."""

_CHANNELS = 1  # their axis


@dataclass(frozen=True)
class Flow:
    """Way of the channels that may be scaled.

    `scalable` are those of which every taker is a convolution, through nothing but positively homogeneous operators
    and concatenations; `taken` maps each convolution (by its output tensor) to the channels it takes, in order, None
    for one that has another maker.
    """

    scalable: frozenset[Channel]
    taken: dict[str, tuple[Channel | None, ...]]


def flow(graph: Graph) -> Flow:
    """Follow every convolution's channels through the graph.

    A channel that meets another one (a sum), a curved function (SiLU), a convolution in groups or the network's end is
    fixed: scaling it would change what the network computes.
    """
    origin: dict[str, tuple[Channel | None, ...]] = {
        name: (None,) * graph.shapes[name][_CHANNELS] for name in graph.inputs
    }
    made: set[Channel] = set()
    fixed: set[Channel | None] = set()
    taken: dict[str, tuple[Channel | None, ...]] = {}
    for node in graph.nodes:
        output = node.output[0]
        if output not in graph.shapes:
            continue
        sources = [origin[name] for name in node.input if name in origin]
        if node.op_type == "Conv":
            taken[output] = sources[0]
            if _groups(node) > 1:
                fixed.update(sources[0])
            origin[output] = tuple((output, number) for number in range(graph.shapes[output][_CHANNELS]))
            made.update((output, number) for number in range(graph.shapes[output][_CHANNELS]))
        else:
            handed = _handed_on(graph, node, sources)
            if handed is None:
                fixed.update(channel for source in sources for channel in source)
            origin[output] = handed or (None,) * graph.shapes[output][_CHANNELS]
    for name in graph.outputs:
        fixed.update(origin[name])
    reached = {channel for channels in taken.values() for channel in channels}
    return Flow(frozenset((made & reached) - fixed), taken)


def _groups(conv: onnx.NodeProto) -> int:
    return next((item.i for item in conv.attribute if item.name == "group"), 1)


def _handed_on(
    graph: Graph, node: onnx.NodeProto, sources: Sequence[tuple[Channel | None, ...]]
) -> tuple[Channel | None, ...] | None:
    """Channels of a node's output; None where it makes new values of them."""
    if node.op_type in _KEEPING:
        return sources[0]
    if node.op_type == "Concat":
        axis = next(item.i for item in node.attribute if item.name == "axis")
        return tuple(channel for source in sources for channel in source) if axis == _CHANNELS else None
    if node.op_type == "Slice":
        return _sliced(graph, node, sources[0])
    return None


def _sliced(
    graph: Graph, node: onnx.NodeProto, source: tuple[Channel | None, ...]
) -> tuple[Channel | None, ...] | None:
    if any(name not in graph.constants for name in node.input[1:]):
        return None
    starts, ends, axes, *steps = (np.ravel(graph.array(name)).tolist() for name in node.input[1:])
    for start, end, axis, step in zip(
        starts, ends, axes, steps[0] if steps else [1] * len(axes), strict=True
    ):
        if axis == _CHANNELS:
            source = source[int(start) : int(end) : int(step)]
    return source
