"""The parser's judgement of an ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

# What these networks use; the real list is longer. Source: onnx-tensorrt, docs/operators.md.
OPERATORS = {
    "Add", "ArgMax", "Cast", "Concat", "Conv", "DequantizeLinear", "Equal", "Gather", "GatherElements", "LeakyRelu",
    "MaxPool", "Mul", "QuantizeLinear", "ReduceMax", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split", "Sub",
    "TopK", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
PLUGINS = {"EfficientNMS_TRT"}
LARGEST_TOPK = 3840  # TensorRT's documentation of ITopKLayer
OPSETS = {8: 17, 10: 20, 11: 25}


@dataclass(frozen=True)
class Complaint:
    node: int
    name: str
    operator: str
    text: str


def judge(path: str, major: int, plugins: bool) -> tuple[onnx.ModelProto | None, list[Complaint]]:
    """The model, and what is wrong with it for that TensorRT."""
    try:
        model = onnx.load_from_string(Path(path).read_bytes())
    except Exception:  # noqa: BLE001 - protobuf's errors have no common base
        return None, [Complaint(-1, "", "", f"Failed to parse ONNX model from file: {path}")]
    found = []
    opset = max(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    if opset > OPSETS[major]:
        found.append(
            Complaint(-1, "", "", f"opset {opset}; operators up to opset {OPSETS[major]} are supported")
        )
    floats = {item.name for item in model.graph.initializer if item.data_type == onnx.TensorProto.FLOAT}
    counts = {
        item.name: onnx.numpy_helper.to_array(item)
        for item in model.graph.initializer
        if item.data_type == onnx.TensorProto.INT64
    }
    known = OPERATORS | (PLUGINS if plugins else set())
    bytes_in = {
        item.name for item in model.graph.input if item.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    }
    for position, node in enumerate(model.graph.node):
        if bytes_in & set(node.input) and node.op_type != "Cast":
            found.append(Complaint(position, node.name, node.op_type, "kUINT8 inputs are for a Cast alone"))
        if node.op_type == "TopK" and int(counts[node.input[1]][0]) > LARGEST_TOPK:
            found.append(Complaint(position, node.name, "TopK", f"K exceeds {LARGEST_TOPK}"))
        if node.op_type not in known:
            text = f"No importer registered for op: {node.op_type}"
            found.append(Complaint(position, node.name, node.op_type, text))
        elif node.op_type == "Resize" and not set(node.input[2:3]) <= floats:
            found.append(
                Complaint(position, node.name, "Resize", "Resize scales must be FLOAT initializers!")
            )
    return model, found
