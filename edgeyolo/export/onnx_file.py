"""A traced network and its weights as an ONNX model.

The trace has ONNX's operators already: torch's exporters take seconds to import and to trace once more, and have
nothing to add.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.backend.op_graph import Graph, Operation, Shape
from edgeyolo.errors import UnsupportedTargetError
from edgeyolo.export.joined_slices import join_slices

if TYPE_CHECKING:
    import onnx

OLDEST = 11  # opset: Resize scales as torch does
ROI_OPTIONAL = 13  # opset: Resize without its second input
TO_THE_END = np.iinfo(np.int64).max


def write_graph(
    graph: Graph,
    weights: Mapping[str, NDArray[np.float32]],
    outputs: Sequence[str],
    opset: int,
    *,
    dynamic_batch: bool = False,
) -> onnx.ModelProto:
    """Make an ONNX model of a trace.

    Slices of slices are joined, equal constants are one, and the shape of every tensor is noted. Tensors keep the names
    of the trace, and weights theirs; equal arguments give equal models.

    Args:
        graph: the trace.
        weights: float32 arrays by the names that operations read them under.
        outputs: names for the graph's outputs, in their order.
        opset: from 11.
        dynamic_batch: leave the first dimension of input and outputs open.

    Raises:
        UnsupportedTargetError: an operation that ONNX does not name, or an older opset.
    """
    import onnx

    _require_writable(graph, opset)
    read = {name: weights[name] for operation in graph.operations for name in operation.parameters}
    plain = _without_weights(join_slices(graph), read, outputs, opset, dynamic_batch=dynamic_batch)
    model = onnx.shape_inference.infer_shapes(plain)
    del model.graph.input[1:]
    for name, array in read.items():  # built in place: make_tensor and make_graph copy every weight
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        model.graph.initializer.add(name=name, dims=array.shape, data_type=kind, raw_data=array.tobytes())
    return model


def _without_weights(
    graph: Graph,
    weights: Mapping[str, NDArray[np.float32]],
    outputs: Sequence[str],
    opset: int,
    *,
    dynamic_batch: bool,
) -> onnx.ModelProto:
    """A model that takes its weights as inputs, after the picture.

    Shapes are found without them, and would be found by several copies.
    """
    import onnx

    model, constants = onnx.ModelProto(), _Constants()
    model.opset_import.add(domain="", version=opset)
    # The oldest file version that can hold this opset: runtimes refuse newer ones than they know.
    model.ir_version = onnx.helper.find_min_ir_version_for(list(model.opset_import))
    model.graph.name = "network"
    names = dict(zip(graph.outputs, outputs, strict=True))
    for operation in graph.operations:
        form = FORMS[operation.kind](operation, opset)
        shared = {name: constants.name(name, array) for name, array in form.constants.items()}
        read = [*operation.inputs, *operation.parameters, *form.inputs]
        given = [(names | shared).get(each, each) for each in read]
        made = [names.get(operation.output, operation.output)]
        model.graph.node.append(
            onnx.helper.make_node(operation.kind, given, made, name=operation.output, **form.attributes)
        )
    model.graph.initializer.extend(onnx.numpy_helper.from_array(each, name) for name, each in constants.kept)
    model.graph.input.append(_port(graph.input, graph.input_shape, dynamic_batch))
    model.graph.input.extend(_port(name, array.shape) for name, array in weights.items())
    model.graph.output.extend(_port(names[each], graph.shapes[each], dynamic_batch) for each in graph.outputs)
    return model


def _require_writable(graph: Graph, opset: int) -> None:
    if opset < OLDEST:
        raise UnsupportedTargetError(
            f"opset {opset}: networks are written in {OLDEST} and newer", hint="Leave out --opset."
        )
    if unknown := sorted(graph.counts().keys() - FORMS.keys()):
        raise UnsupportedTargetError(
            f"the network has operations that are not written as ONNX: {', '.join(unknown)}",
            hint=f"Known are {', '.join(sorted(FORMS))}.",
        )


def _port(name: str, shape: Shape, dynamic_batch: bool = False) -> onnx.ValueInfoProto:
    import onnx

    sides: list[str | int | None] = ["batch" if dynamic_batch else shape[0], *shape[1:]]
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sides)


@dataclass(frozen=True)
class _Form:
    """An operation's attributes in ONNX, and inputs that are constants."""

    attributes: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass
class _Constants:
    """Constants of a graph, of equal ones the first."""

    kept: list[tuple[str, NDArray[Any]]] = field(default_factory=list)
    _names: dict[tuple[str, Shape, bytes], str] = field(default_factory=dict)

    def name(self, name: str, array: NDArray[Any]) -> str:
        """The name that a constant is kept under.

        It is its own, or that of an equal one before it.
        """
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._names:
            self._names[key] = name
            self.kept.append((name, array))
        return self._names[key]


def _plain(operation: Operation, opset: int) -> _Form:
    return _Form(operation.attributes)


def _window(operation: Operation, opset: int) -> _Form:
    given = {key: value for key, value in operation.attributes.items() if key != "weights"}
    return _Form(given | {"pads": (*given["pads"], *given["pads"])})


def _resize(operation: Operation, opset: int) -> _Form:
    scales = (1.0, 1.0, *operation.attributes["scales"])
    constants = {f"{operation.output}/scales": np.array(scales, np.float32)}
    roi = "" if opset >= ROI_OPTIONAL else f"{operation.output}/roi"
    if roi:
        constants[roi] = np.zeros(0, np.float32)
    modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return _Form(modes, (roi, f"{operation.output}/scales"), constants)


def _clip(operation: Operation, opset: int) -> _Form:
    limits = {
        f"{operation.output}/{name}": np.array(operation.attributes[name], np.float32)
        for name in ("min", "max")
    }
    return _Form({}, tuple(limits), limits)


def _slice(operation: Operation, opset: int) -> _Form:
    given = {name: np.atleast_1d(operation.attributes[name]) for name in ("start", "end", "axis", "steps")}
    ends = [TO_THE_END if end is None else end for end in given["end"]]
    columns = {"starts": given["start"], "ends": ends, "axes": given["axis"], "steps": given["steps"]}
    constants = {f"{operation.output}/{name}": np.array(each, np.int64) for name, each in columns.items()}
    return _Form({}, tuple(constants), constants)


FORMS: Mapping[str, Callable[[Operation, int], _Form]] = MappingProxyType(
    {
        **dict.fromkeys(("Add", "Concat", "LeakyRelu", "Mul", "Relu", "Sigmoid"), _plain),
        **dict.fromkeys(("Conv", "MaxPool"), _window),
        "Clip": _clip,
        "Resize": _resize,
        "Slice": _slice,
    }
)
