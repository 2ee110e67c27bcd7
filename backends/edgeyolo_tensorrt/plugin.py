"""TensorRT's suppression plugin.

Finds it in a graph, makes it known to TensorRT, and makes a graph without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeyolo.backend.op_graph import TENSORRT_NMS
from edgeyolo.errors import RuntimeMissingError
from edgeyolo_tensorrt.library import Library

if TYPE_CHECKING:
    import onnx

    from edgeyolo.export.for_backends import GraphWriter


def register_plugins(library: Library, logger: Any) -> None:
    """Load TensorRT's own plugins, before a graph or an engine that holds one is read.

    Raises RuntimeMissingError where their library is not beside TensorRT.
    """
    if not plugins_load(library, logger):
        raise RuntimeMissingError(
            f"TensorRT {library.text} does not load its plugins, and the graph suppresses by {TENSORRT_NMS}",
            hint="Install libnvinfer_plugin of the same version, or export with --nms host.",
        )


def plugins_load(library: Library, logger: Any) -> bool:
    """Load TensorRT's own plugins; whether there are any."""
    register = getattr(library.module, "init_libnvinfer_plugins", None)
    return register is not None and bool(register(logger, ""))


def without_plugin(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes in ONNX's operators what the plugin does.

    Suppression within each class, of every class of a box that scores above the threshold; then the best of
    all classes. A graph without it stays as it is.
    """
    import onnx

    from edgeyolo.export.for_backends import GraphWriter

    found = [node for node in model.graph.node if node.op_type == TENSORRT_NMS]
    if not found:
        return model
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.graph.node[:]
    plain.graph.node.extend(node for node in model.graph.node if node.op_type != TENSORRT_NMS)
    for node in found:
        writer = GraphWriter(f"{node.name}/")
        _suppress(writer, node)
        plain.graph.node.extend(writer.nodes)
        plain.graph.initializer.extend(writer.constants)
    kept = [item for item in plain.opset_import if item.domain != found[0].domain]
    del plain.opset_import[:]
    plain.opset_import.extend(kept)
    return plain


def _suppress(writer: GraphWriter, node: onnx.NodeProto) -> None:
    from onnx import TensorProto, helper

    said = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    (boxes, scores), (count, found, best, labels) = node.input, node.output
    number = writer.constant(said["max_output_boxes"])
    most = writer.add("Unsqueeze", number, writer.constant([0]))
    by_class = writer.add("Transpose", scores, perm=[0, 2, 1])
    limits = (writer.constant([said[name]], np.float32) for name in ("iou_threshold", "score_threshold"))
    kept = writer.add("NonMaxSuppression", boxes, by_class, number, *limits)
    # Scores of what stays on a map of zeros: the best of all classes are then one TopK away.
    nothing = writer.add("Mul", by_class, writer.constant(0, np.float32))
    staying = writer.add("ScatterND", nothing, kept, writer.add("GatherND", by_class, kept))
    staying = writer.reshape(writer.add("Transpose", staying, perm=[0, 2, 1]), (0, -1))
    pads = writer.constant([0, 0, 0, said["max_output_boxes"]])
    order = f"{node.name}/order"
    writer.add("TopK", writer.add("Pad", staying, pads), most, outputs=[best, order], axis=1)
    real = writer.add("Greater", best, writer.constant(0, np.float32))
    order = writer.add("Where", real, order, writer.constant(0))
    classes = writer.add("Gather", writer.add("Shape", scores), writer.constant(2), axis=0)
    row = writer.add("Unsqueeze", writer.add("Div", order, classes), writer.constant([2]))
    corners = writer.add("GatherND", boxes, row, batch_dims=1)
    mask = writer.add("Unsqueeze", real, writer.constant([2]))
    writer.add("Where", mask, corners, writer.constant(0, np.float32), outputs=[found])
    writer.add("Cast", writer.add("Mod", order, classes), outputs=[labels], to=TensorProto.INT32)
    ones = writer.add("Cast", real, to=TensorProto.INT32)
    writer.add("ReduceSum", ones, writer.constant([1]), outputs=[count], keepdims=1)
