"""Reading an ONNX graph.

Who makes a tensor, who takes it, how large it is, and parts that run one after another.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import UnsupportedTargetError

if TYPE_CHECKING:
    import onnx


OPSET = 18
"""Opset of the graph that stands for targets that are not made from ONNX."""


@dataclass(frozen=True)
class Graph:
    """An ONNX model with its tensors' makers and takers.

    `batch` stands for dimensions that are open.
    """

    model: onnx.ModelProto
    batch: int = 1

    @cached_property
    def nodes(self) -> tuple[onnx.NodeProto, ...]:
        """Every node, makers before takers."""
        return tuple(self.model.graph.node)

    @cached_property
    def constants(self) -> dict[str, onnx.TensorProto]:
        """The initializers by name."""
        return {each.name: each for each in self.model.graph.initializer}

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The names of the graph's inputs."""
        return tuple(each.name for each in self.model.graph.input if each.name not in self.constants)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The names of the graph's outputs."""
        return tuple(each.name for each in self.model.graph.output)

    @cached_property
    def maker(self) -> dict[str, onnx.NodeProto]:
        """The node that gives each tensor."""
        return {name: node for node in self.nodes for name in node.output}

    @cached_property
    def takers(self) -> dict[str, list[onnx.NodeProto]]:
        """The nodes that take each tensor."""
        found: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                found[name].append(node)
        return found

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every float tensor that is no constant."""
        import onnx

        inferred = onnx.shape_inference.infer_shapes(self.model, strict_mode=True, data_prop=True).graph
        known = {}
        for each in [*inferred.input, *inferred.value_info, *inferred.output]:
            kind = each.type.tensor_type
            if kind.elem_type == onnx.TensorProto.FLOAT and each.name not in self.constants:
                known[each.name] = tuple(side.dim_value or self.batch for side in kind.shape.dim)
        missing = [name for node in self.nodes for name in node.output if name and name not in known]
        if missing:
            raise UnsupportedTargetError(
                f"the shapes of {', '.join(missing[:3])} cannot be inferred, so the graph cannot be calibrated",
                hint="Export it with a fixed size.",
            )
        return known

    @cached_property
    def identity(self) -> str:
        """A SHA-256 over operators, the tensors between them, and weights.

        Equal for the forms (batch, constants as nodes or as weights) that one network is written in, and for
        nothing else that has the same tensors.
        """
        digest = hashlib.sha256()
        for node in self.nodes:
            if node.op_type == "Constant":
                continue
            tensors = [name for name in node.input if name in self.maker or name in self.inputs]
            tensors = [
                name for name in tensors if name in self.inputs or self.maker[name].op_type != "Constant"
            ]
            digest.update(repr((node.op_type, tensors, list(node.output))).encode())
            if node.op_type == "Conv":
                for name in node.input[1:]:
                    digest.update(self.array(name).tobytes())
        return digest.hexdigest()

    def array(self, name: str) -> NDArray[np.float32]:
        """A constant's values."""
        import onnx

        return np.asarray(onnx.numpy_helper.to_array(self.constants[name]))

    def bytes_of(self, names: Iterable[str]) -> int:
        """Bytes of tensors in memory."""
        return sum(4 * math.prod(self.shapes[name]) for name in names)


def constants_as_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` whose Constant nodes are initializers.

    One form for all that reads graphs, TensorRT's parsers too.
    """
    import onnx

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    nodes = list(changed.graph.node)
    del changed.graph.node[:]
    for node in nodes:
        values = [item.t for item in node.attribute if item.name == "value"]
        if node.op_type == "Constant" and values:
            values[0].name = node.output[0]
            changed.graph.initializer.append(values[0])
        else:
            changed.graph.node.append(node)
    return changed


@dataclass(frozen=True)
class Part:
    """A run of nodes as a model of its own.

    `takes` what earlier parts give, and `gives`.
    """

    model: onnx.ModelProto
    takes: tuple[str, ...]
    gives: tuple[str, ...]


def with_constants(model: onnx.ModelProto, values: Mapping[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """A copy of a model in which these initializers have other values."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values[tensor.name], tensor.name))
    return made


def split(graph: Graph, observed: Iterable[str], limit: int) -> list[Part]:
    """Cut the graph into parts by the size of the observed tensors.

    They take at most about `limit` bytes each.

    Run one after another, each tensor is computed once; every observed one is given by some part.
    """
    wanted = frozenset(observed)
    runs: list[list[onnx.NodeProto]] = [[]]
    used = 0
    for node in graph.nodes:
        size = graph.bytes_of(name for name in node.output if name in wanted)
        if runs[-1] and used + size > limit:
            runs.append([])
            used = 0
        runs[-1].append(node)
        used += size
    return [_part(graph, run, wanted) for run in runs]


def _part(graph: Graph, run: list[onnx.NodeProto], wanted: frozenset[str]) -> Part:
    import onnx

    made = {name for node in run for name in node.output}
    taken = list(dict.fromkeys(name for node in run for name in node.input if name))
    members = {node.name for node in run}
    takes = [name for name in taken if name not in made and name not in graph.constants]
    gives = [
        name
        for node in run
        for name in node.output
        if name in wanted
        or name in graph.outputs
        or any(taker.name not in members for taker in graph.takers.get(name, ()))
    ]
    part = onnx.helper.make_graph(
        run,
        "part",
        [_value(graph, name) for name in takes],
        [_value(graph, name) for name in gives],
        [graph.constants[name] for name in taken if name in graph.constants],
    )
    opsets = list(graph.model.opset_import)
    model = onnx.helper.make_model(part, opset_imports=opsets, ir_version=graph.model.ir_version)
    return Part(model, tuple(takes), tuple(gives))


def _value(graph: Graph, name: str) -> onnx.ValueInfoProto:
    import onnx

    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, graph.shapes[name])


_COMMUTES = frozenset({"Add", "Mul"})


def stable_names(graph: Graph) -> dict[str, str]:
    """Each tensor's name in the graph -> a stable name.

    It is made of operators and of the modules that hold the weights.

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
    """Path of the module of a convolution's weight.

    It follows from the weight's name.
    """
    return weight.removesuffix(".weight")
