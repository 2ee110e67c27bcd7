"""Rules for the places of quantizers, runtime by runtime.

Which tensors become integers, which of them share a scale, and which stay in float decides how much AP an INT8 network
loses, and whether the runtime can run it in integers at all.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edgeyolo.artifact.target import Target
from edgeyolo.backend.profile import MAP_REACH
from edgeyolo.errors import UnsupportedTargetError, UsageError
from edgeyolo_calib.onnx_graph import Graph
from edgeyolo_calib.ranges.ranges import INT8, UINT8, Grid, Scheme, Through, Values

if TYPE_CHECKING:
    import onnx

_MOVING = frozenset({"Concat", "MaxPool", "Resize", "Slice"})  # hand values on, or pick the largest
_ACTIVATIONS = frozenset({"Clip", "LeakyRelu", "Relu", "Sigmoid", "Mul"})
_KNOWN = frozenset({"Conv", "Add", *_MOVING, *_ACTIVATIONS})


@dataclass(frozen=True)
class Rules:
    """Rules of one runtime for quantizers.

    `grid` is what activations are put on. `fused`: a convolution and its activation function run as one kernel, so no
    quantizer stands between or inside them, and none behind a convolution that ends the network. `sharing` are the
    operators whose inputs and output have one scale. `heads`: whether the last convolutions are quantized. `stem`: how
    many convolutions, from the input on, stay in float. `bias`: whether biases are int32. `pairs`: weights stay float
    with Q and DQ behind them, and every taker of a tensor has Q and DQ of its own. `per_channel`: one scale for each
    output channel of a weight. `scheme`: how ranges are chosen where nothing else is asked for; with `search`,
    where images are at hand, as suits the network (see `schemes`). `like`: the name
    of rules whose ranges serve these too, because their quantizers stand at all of these places on the same grid.
    `sigmoid`: the range that the runtime's kernels give every sigmoid, None where it is measured. `reach`: how far from
    zero a raw map's quantizer goes. `even_sums`: weights are rounded so that errors cancel (see the module of that
    name), not each to its nearest level.
    """

    name: str
    grid: Grid
    fused: bool
    sharing: frozenset[str]
    bias: bool
    pairs: bool
    scheme: Scheme = field(default_factory=Scheme)
    heads: bool = False
    stem: int = 2
    per_channel: bool = True
    search: bool = False
    like: str = ""
    sigmoid: tuple[float, float] | None = None
    reach: float = math.inf
    even_sums: bool = True

    @property
    def trained_as(self) -> str:
        """The name under which training learns ranges for these rules."""
        return self.like or self.name


ONNXRUNTIME = Rules("onnxruntime", UINT8, fused=False, sharing=_MOVING, bias=True, pairs=False, search=True)
"""x86: unsigned activations have the fast kernels; an operator runs in integers where Q stands behind it. Concat could
take branches of different scales, but copies those of one scale faster and loses nothing by it. The first convolutions
have few channels and gain no time from integers, while errors made there spread over flat parts of the picture."""

TENSORRT = Rules("tensorrt", INT8, fused=True, sharing=_MOVING, bias=False, pairs=True, search=True)
"""Symmetric int8 without zero points; activation functions fuse into their convolution; branches of Concat, MaxPool
and Resize share one scale, so that no requantization stands between them."""

OPENVINO = Rules(
    "openvino", UINT8, fused=True, sharing=_MOVING, bias=False, pairs=False, like=ONNXRUNTIME.name
)
"""For ranges that training learned; from images NNCF quantizes for OpenVINO. Its kernels take unsigned activations with
zero points, fuse activation functions, and requantize at the end of a convolution."""

HEXAGON = replace(ONNXRUNTIME, name="hexagon", like=ONNXRUNTIME.name)
"""Qualcomm's HTP: unsigned activations, signed weights with a scale for each channel, and float16 for what stays in
float, from the architecture v69 on. The same places serve."""

TFLITE = replace(ONNXRUNTIME, name="tflite", stem=0, sigmoid=(0.0, 255 / 256))
"""LiteRT on a CPU: the same integers, signed where these are not; a sigmoid has steps of 1/256 whatever it gives. The
last convolutions are float: a box is told to a fraction of a cell, and in maps of integers it has one scale with
objectness and classes, which reach further (on 300 generated scenes that alone loses 0.54 AP points)."""

EDGE_TPU = replace(TFLITE, name="edge TPU", heads=True, reach=MAP_REACH)
"""Integers to the outputs. Decoding takes the sigmoid of every raw value, and has hardly anything left to tell apart
beyond 6 (0.9975), but background reaches to -40: eight bits from end to end would leave too few of them for what is
detected (yolov7-tiny-silu on scenes: 3.6 AP points lost, 0.9 with the cut)."""

NCNN = replace(TENSORRT, name="ncnn", sharing=frozenset())
"""Symmetric int8 at the door of each convolution, which gives floats: nothing needs to share a scale."""

NAIVE_ONNXRUNTIME = Rules(
    "naive onnxruntime", UINT8, fused=False, sharing=_MOVING - {"Concat"}, bias=True, pairs=False,
    scheme=Scheme("minmax"), heads=True, stem=0, per_channel=False, even_sums=False,
)  # fmt: skip
"""A quantizer behind every operator: what the rules are measured against."""

NAIVE_TENSORRT = Rules(
    "naive tensorrt", INT8, fused=False, sharing=frozenset(), bias=False, pairs=True,
    scheme=Scheme("minmax"), heads=True, stem=0, per_channel=False, even_sums=False,
)  # fmt: skip
"""The same in symmetric int8, each quantizer with its own scale."""


def rules_of(target: Target) -> Rules:
    """The rules for a target's integers.

    OpenVINO's are NNCF's own; which layers hurt there, the nearest of ours tell.

    Raises UsageError for a target that is not quantized layer by layer.
    """
    known = {
        "ncnn": NCNN, "onnx": ONNXRUNTIME, "openvino": ONNXRUNTIME, "qnn": HEXAGON, "trt": TENSORRT,
        "tflite": EDGE_TPU if target.device == "edgetpu" else TFLITE,
    }  # fmt: skip
    if target.precision != "int8" or target.runtime not in known:
        raise UsageError(
            f"{target}: there are no rules of ours for where its integers stand",
            hint="Take cpu-onnx-int8, cpu-openvino-int8, cpu-tflite-int8, cpu-ncnn-int8, hexagon-qnn-int8 or one "
            "of the -trt-int8 ones.",
        )
    return known[target.runtime]


@dataclass(frozen=True)
class Unit:
    """A convolution and the nodes of its activation function.

    `ends` the network where its output is the graph's. `limits` are those of a Clip.
    """

    conv: onnx.NodeProto
    activation: tuple[onnx.NodeProto, ...]
    ends: bool
    limits: tuple[float, float] | None = None

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of all its nodes."""
        return tuple(node.name for node in (self.conv, *self.activation))

    @property
    def output(self) -> str:
        """The tensor behind the activation function."""
        return str((self.activation or (self.conv,))[-1].output[0])

    def function(self) -> Through | None:
        """The activation function in numpy, None where there is none."""
        kinds = [node.op_type for node in self.activation]
        if kinds == ["Sigmoid", "Mul"]:
            return _silu
        if not kinds:
            return None
        if self.limits is not None:
            return partial(np.clip, a_min=self.limits[0], a_max=self.limits[1])
        slope = 0.0
        if kinds == ["LeakyRelu"]:
            slope = next((item.f for item in self.activation[0].attribute if item.name == "alpha"), 0.01)
        return lambda values: np.where(values < 0, values * slope, values)


def units(graph: Graph) -> list[Unit]:
    """Every convolution with its activation function, in the graph's order."""
    return [_unit(graph, node) for node in graph.nodes if node.op_type == "Conv"]


def _unit(graph: Graph, conv: onnx.NodeProto) -> Unit:
    output = conv.output[0]
    takers = graph.takers[output]
    kinds = sorted(node.op_type for node in takers)
    if kinds in (["LeakyRelu"], ["Relu"]):
        return Unit(conv, (takers[0],), False)
    if kinds == ["Clip"] and len(takers[0].input) == 3:
        low, high = (float(graph.array(name)) for name in takers[0].input[1:])
        return Unit(conv, (takers[0],), False, (low, high))
    if kinds == ["Mul", "Sigmoid"]:
        sigmoid, mul = sorted(takers, key=lambda node: node.op_type, reverse=True)
        if set(mul.input) == {output, sigmoid.output[0]} and graph.takers[sigmoid.output[0]] == [mul]:
            return Unit(conv, (sigmoid, mul), False)
    return Unit(conv, (), output in graph.outputs)


@dataclass(frozen=True)
class Placement:
    """Places of quantizers.

    `nodes` by name, `tensors` (name -> the group it shares a scale with), and, for tensors that an activation
    function follows, that function. `floats` are the outputs of convolutions that stay in float. `fixed` are ranges
    that are not measured, `reach` ends of those that are: how far from zero a tensor's may go.
    """

    nodes: tuple[str, ...]
    tensors: dict[str, str]
    through: dict[str, Through]
    floats: tuple[str, ...]
    fixed: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    reach: Mapping[str, float] = field(default_factory=dict)


def place(graph: Graph, rules: Rules, floats: Collection[str] = ()) -> Placement:
    """Apply a runtime's rules to a network.

    `floats` are the outputs' names of units that stay in float.

    Raises UnsupportedTargetError where the graph holds operators that there are no rules for.
    """
    strangers = sorted({node.op_type for node in graph.nodes} - _KNOWN)
    if strangers:
        raise UnsupportedTargetError(
            f"there are no INT8 rules for {', '.join(strangers)}: raw heads of plain convolutions are expected"
        )
    found = units(graph)
    kept = _kept(graph, found, rules, floats)
    nodes = _fused(graph, kept) if rules.fused else [node for node in graph.nodes if node.name not in kept]
    tensors = [name for node in nodes for name in node.input if name in graph.shapes]
    if not rules.fused:
        tensors += [name for node in nodes for name in node.output]
    ordered = [name for name in graph.shapes if name in set(tensors)]
    through = {
        unit.conv.output[0]: function
        for unit in found
        if unit.conv.output[0] in set(tensors) and (function := unit.function())
    }
    names = tuple(node.name for node in nodes)
    left = tuple(unit.output for unit in found if unit.conv.name not in names)
    sigmoids = [node.output[0] for node in nodes if node.op_type == "Sigmoid"] if rules.sigmoid else []
    return Placement(
        names,
        _groups(nodes, rules, ordered),
        through,
        left,
        fixed={name: rules.sigmoid for name in sigmoids if rules.sigmoid},
        reach={name: rules.reach for name in graph.outputs if name in set(ordered)},
    )


def _kept(graph: Graph, found: list[Unit], rules: Rules, floats: Collection[str]) -> set[str]:
    """The names of nodes that stay in float."""
    kept = {
        name
        for number, unit in enumerate(found)
        if unit.output in floats or number < rules.stem or (unit.ends and not rules.heads)
        for name in unit.nodes
    }
    for node in reversed(graph.nodes):  # what only float nodes take needs no integers either
        takers = [taker for name in node.output for taker in graph.takers[name]]
        if node.op_type != "Conv" and takers and all(taker.name in kept for taker in takers):
            kept.add(node.name)
    return kept


def _fused(graph: Graph, kept: set[str]) -> list[onnx.NodeProto]:
    """Convolutions, and whatever hands values on to one of them."""
    chosen: set[str] = set()
    for node in reversed(graph.nodes):
        feeds = any(taker.name in chosen for name in node.output for taker in graph.takers[name])
        if node.name not in kept and (node.op_type == "Conv" or (feeds and node.op_type not in _ACTIVATIONS)):
            chosen.add(node.name)
    return [node for node in graph.nodes if node.name in chosen]


def _groups(nodes: list[onnx.NodeProto], rules: Rules, tensors: list[str]) -> dict[str, str]:
    """Each tensor's group, named by its first member."""
    leader = {name: name for name in tensors}

    def lead(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    rank = {name: i for i, name in enumerate(tensors)}
    for node in nodes:
        if node.op_type in rules.sharing:
            meeting = sorted(
                {lead(name) for name in (*node.input, *node.output) if name in leader}, key=rank.__getitem__
            )
            for name in meeting[1:]:
                leader[name] = meeting[0]
    return {name: lead(name) for name in tensors}


def _silu(values: Values) -> Values:
    return np.asarray(values / (1.0 + np.exp(-np.clip(values, -80.0, 80.0))))
