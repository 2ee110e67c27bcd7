"""Decoding and non-maximum suppression as ONNX operators.

They stand behind a network's raw maps.

Per image: the confidence of every cell's best class, the best `max_candidates` of them, their boxes, then suppression
within each class. Classes are axes of the operators, never offsets of coordinates: nothing is suppressed across
classes, and no coordinate loses a bit. Images are an axis too. All of it is float32, whatever the network computes in.

The numbers are those of `edgeyolo.runtime.decode` and `edgeyolo.runtime.nms`; equal confidences keep the order
level, anchor, row, column there and here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import GraphDetections, InputContract, RawMaps
from edgeyolo.backend.op_graph import TENSORRT_NMS

if TYPE_CHECKING:
    import onnx

PLUGIN_DOMAIN = (
    "TRT"  # any but ONNX's own: its checker knows no plugins, TensorRT goes by the operator's name
)
_PREFIX = "detections/"


@dataclass
class GraphWriter:
    """Nodes and constants of a graph in the making, named from `prefix` on.

    Methods give the name of what they made.
    """

    prefix: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        from onnx import numpy_helper

        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(
        self, kind: str, *inputs: str, outputs: Sequence[str] = (), domain: str = "", **attributes: Any
    ) -> str:
        from onnx import helper

        name = f"{self.prefix}{kind}_{len(self.nodes)}"
        made = list(outputs) or [name]
        self.nodes.append(helper.make_node(kind, list(inputs), made, name=name, domain=domain, **attributes))
        return made[0]

    def slice(self, value: str, start: int, end: int, axis: int) -> str:
        return self.add("Slice", value, *(self.constant([each]) for each in (start, end, axis)))

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        return self.add("Reshape", value, self.constant(shape))


def suppression_graph(
    raw: RawMaps, given: GraphDetections, contract: InputContract, opset: int, *, plugin: bool = False
) -> onnx.ModelProto:
    """A model from raw maps, by name, to the arrays of `given`.

    `count` and `labels` are int32.

    With `plugin` TensorRT's EfficientNMS does the suppression, else ONNX's NonMaxSuppression.
    """
    from onnx import TensorProto, helper

    writer = GraphWriter(_PREFIX)
    boxes, scores, labels = _candidates(writer, raw, given, contract.size, opset)
    if plugin:
        _by_plugin(writer, given, boxes, scores, labels)
    else:
        _by_operator(writer, given, boxes, scores, labels)
    # A model of its own: `with_suppression` joins it to a network.
    batch: int | str = "batch" if contract.dynamic_batch else contract.batch
    shapes = raw.shapes(0, contract.size)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape[1:]])
        for name, shape in zip(raw.names, shapes, strict=True)
    ]
    kinds = (TensorProto.INT32, TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT32)
    outputs = [
        helper.make_tensor_value_info(name, kind, [batch, *shape[1:]])
        for name, kind, shape in zip(given.names, kinds, given.shapes(0, contract.size), strict=True)
    ]
    graph = helper.make_graph(writer.nodes, "detections", inputs, outputs, writer.constants)
    opsets = [helper.make_opsetid("", opset)]
    if plugin:
        opsets.append(helper.make_opsetid(PLUGIN_DOMAIN, 1))
    model = helper.make_model(graph, opset_imports=opsets, producer_name="edgeyolo")
    model.ir_version = helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
    return model


def with_suppression(
    model: onnx.ModelProto,
    raw: RawMaps,
    given: GraphDetections,
    contract: InputContract,
    *,
    plugin: bool = False,
) -> onnx.ModelProto:
    """Copy of a finished network that gives detections in place of maps.

    The network may have any precision.
    """
    import onnx

    opset = next(item.version for item in model.opset_import if not item.domain)
    tail = suppression_graph(raw, given, contract, opset, plugin=plugin)
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    whole.graph.node.extend(tail.graph.node)
    whole.graph.initializer.extend(tail.graph.initializer)
    del whole.graph.output[:]
    whole.graph.output.extend(tail.graph.output)
    known = {item.domain for item in whole.opset_import}
    whole.opset_import.extend(item for item in tail.opset_import if item.domain not in known)
    props = {item.key: item.value for item in whole.metadata_props} | {"output": describe(given)}
    onnx.helper.set_model_props(whole, props)
    onnx.checker.check_model(whole, full_check=not plugin)
    return whole


def describe(given: GraphDetections) -> str:
    """Describe the output arrays for users of the file alone."""
    return (
        f"count, boxes (x1, y1, x2, y2 in pixels of the input), scores, labels; at most {given.max_det} an image of a "
        f"confidence above {given.conf:g}, suppressed within their class at IoU {given.iou:g}"
    )


def _candidates(
    writer: GraphWriter, raw: RawMaps, given: GraphDetections, size: tuple[int, int], opset: int
) -> tuple[str, str, str]:
    """Boxes, scores and labels of the best k cells, best first.

    Boxes are (batch, k, 4), scores and labels (batch, k).
    """
    anchors, channels = len(raw.anchors[0]), 5 + raw.classes
    objectness, classes, flat = [], [], []
    for name, (_, _, height, width) in zip(raw.names, raw.shapes(0, size), strict=True):
        level = writer.reshape(name, (0, anchors, channels, height * width))
        objectness.append(writer.reshape(writer.slice(level, 4, 5, 2), (0, -1)))
        best = _reduce_max(writer, writer.slice(level, 5, channels, 2), 2, opset)
        classes.append(writer.reshape(best, (0, -1)))
        flat.append(writer.reshape(name, (0, -1)))
    confidence = writer.add("Sigmoid", writer.add("Concat", *objectness, axis=1))
    if raw.classes > 1:
        best = writer.add("Sigmoid", writer.add("Concat", *classes, axis=1))
        confidence = writer.add("Mul", confidence, best)
    place, table = _cells(raw, size)
    count = min(given.max_candidates, len(place))
    scores, order = f"{_PREFIX}scores", f"{_PREFIX}order"
    writer.add("TopK", confidence, writer.constant([count]), outputs=[scores, order], axis=1)
    # The values of the chosen cells: from where the cell's first channel lies, in steps of a plane.
    first, step = (writer.add("Gather", writer.constant(place[:, [i]]), order) for i in (0, 1))
    along = writer.add("Mul", step, writer.constant(np.arange(channels)[None, None]))
    index = writer.reshape(writer.add("Add", first, along), (0, -1))
    rows = writer.add("GatherElements", writer.add("Concat", *flat, axis=1), index, axis=1)
    rows = writer.reshape(rows, (0, count, channels))
    labels = writer.add("ArgMax", writer.slice(rows, 5, channels, 2), axis=2, keepdims=0)
    cells = writer.add("Gather", writer.constant(table, np.float32), order)
    return _boxes(writer, rows, cells), scores, labels


def _boxes(writer: GraphWriter, rows: str, cells: str) -> str:
    """Corners from logits (batch, k, channels) and what `_cells` knows of their cells."""

    def number(value: float) -> str:
        return writer.constant(value, np.float32)

    doubled = writer.add("Mul", writer.add("Sigmoid", writer.slice(rows, 0, 4, 2)), number(2))
    centre = writer.add("Sub", writer.slice(doubled, 0, 2, 2), number(0.5))
    centre = writer.add("Mul", centre, writer.slice(cells, 0, 2, 2))
    centre = writer.add("Add", centre, writer.slice(cells, 2, 4, 2))
    root = writer.slice(doubled, 2, 4, 2)
    extent = writer.add("Mul", writer.add("Mul", root, root), writer.slice(cells, 4, 6, 2))
    half = writer.add("Mul", extent, number(0.5))
    corners = writer.add("Sub", centre, half), writer.add("Add", centre, half)
    return writer.add("Concat", *corners, axis=2)


def _cells(raw: RawMaps, size: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Constants of every cell, in the order level, anchor, row, column.

    Position of its first channel among all values of an image and distance of its channels, (n, 2); stride
    twice, x and y of the cell, its anchor, (n, 6) in pixels.
    """
    channels = raw.channels // len(raw.anchors[0])
    places, tables, start = [], [], 0
    for level, (_, _, height, width) in enumerate(raw.shapes(0, size)):
        stride, cells = raw.strides[level], height * width
        y, x = np.divmod(np.arange(cells), width)
        for anchor in raw.anchors[level]:
            places.append(np.stack([start + np.arange(cells), np.full(cells, cells)], 1))
            known = np.broadcast_to(np.array([*anchor]), (cells, 2))
            tables.append(
                np.concatenate([np.full((cells, 2), stride), np.stack([x, y], 1) * stride, known], 1)
            )
            start += channels * cells
    return np.concatenate(places), np.concatenate(tables).astype(np.float32)


def _one_class_each(writer: GraphWriter, given: GraphDetections, scores: str, labels: str, axis: int) -> str:
    """Scores with an axis for classes at `axis`.

    A cell's score at its own class, 0 elsewhere.
    """
    at = writer.constant([axis])
    shape = [1, 1, 1]
    shape[axis] = given.classes
    own = writer.add(
        "Equal", writer.add("Unsqueeze", labels, at), writer.constant(np.arange(given.classes).reshape(shape))
    )
    return writer.add("Where", own, writer.add("Unsqueeze", scores, at), writer.constant(0, np.float32))


def _by_operator(writer: GraphWriter, given: GraphDetections, boxes: str, scores: str, labels: str) -> None:
    """ONNX's operator gives (image, class, box) of what stays, class by class.

    Here it is put in order again.
    """
    from onnx import TensorProto

    limits = (
        writer.constant([given.max_det]),
        *(writer.constant([x], np.float32) for x in (given.iou, given.conf)),
    )
    kept = writer.add("NonMaxSuppression", boxes, _one_class_each(writer, given, scores, labels, 1), *limits)
    which = writer.add("Gather", kept, writer.constant([0, 2]), axis=1)
    nothing = writer.add("Mul", scores, writer.constant(0, np.float32))
    staying = writer.add("ScatterND", nothing, which, writer.add("GatherND", scores, which))
    best, order = given.names[2], f"{_PREFIX}staying"
    # TopK cannot take more than there are: a small picture has fewer cells than detections are allowed.
    padded = writer.add("Pad", staying, writer.constant([0, 0, 0, given.max_det]))
    writer.add("TopK", padded, writer.constant([given.max_det]), outputs=[best, order], axis=1)
    real = writer.add("Greater", best, writer.constant(0, np.float32))
    safe = writer.add("Where", real, order, writer.constant(0))
    found = writer.add("GatherND", boxes, writer.add("Unsqueeze", safe, writer.constant([2])), batch_dims=1)
    mask = writer.add("Unsqueeze", real, writer.constant([2]))
    writer.add("Where", mask, found, writer.constant(0, np.float32), outputs=[given.names[1]])
    chosen = writer.add("Where", real, writer.add("GatherElements", labels, safe, axis=1), writer.constant(0))
    writer.add("Cast", chosen, outputs=[given.names[3]], to=TensorProto.INT32)
    ones = writer.add("Cast", real, to=TensorProto.INT32)
    writer.add("ReduceSum", ones, writer.constant([1]), outputs=[given.names[0]], keepdims=1)


def _by_plugin(writer: GraphWriter, given: GraphDetections, boxes: str, scores: str, labels: str) -> None:
    """Suppression by TensorRT's plugin.

    It turns (batch, k, 4) corners and (batch, k, classes) scores into the four arrays.

    https://github.com/NVIDIA/TensorRT/tree/main/plugin/efficientNMSPlugin
    """
    writer.add(
        TENSORRT_NMS, boxes, _one_class_each(writer, given, scores, labels, 2), outputs=given.names,
        domain=PLUGIN_DOMAIN,
        plugin_version="1", score_threshold=given.conf, iou_threshold=given.iou, max_output_boxes=given.max_det,
        background_class=-1, score_activation=0, box_coding=0,
    )  # fmt: skip


def _reduce_max(writer: GraphWriter, value: str, axis: int, opset: int) -> str:
    if opset < 18:  # axes became an input
        return writer.add("ReduceMax", value, axes=[axis], keepdims=0)
    return writer.add("ReduceMax", value, writer.constant([axis]), keepdims=0)
