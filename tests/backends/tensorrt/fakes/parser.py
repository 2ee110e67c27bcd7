"""The parser's judgement of an ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

# What these networks use; the real list is longer. Source: onnx-tensorrt, docs/operators.md.
OPERATORS = {
    "Add", "Cast", "Concat", "Conv", "DequantizeLinear", "LeakyRelu", "MaxPool", "Mul", "QuantizeLinear", "Relu",
    "Reshape", "Resize", "Sigmoid", "Slice", "Split", "Sub", "Transpose",
}  # fmt: skip
OPSETS = {8: 17, 10: 20, 11: 25}


@dataclass(frozen=True)
class Complaint:
    node: int
    name: str
    operator: str
    text: str


def judge(path: str, major: int) -> tuple[onnx.ModelProto | None, list[Complaint]]:
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
    for position, node in enumerate(model.graph.node):
        if node.op_type not in OPERATORS:
            text = f"No importer registered for op: {node.op_type}"
            found.append(Complaint(position, node.name, node.op_type, text))
        elif node.op_type == "Resize" and not set(node.input[2:3]) <= floats:
            found.append(
                Complaint(position, node.name, "Resize", "Resize scales must be FLOAT initializers!")
            )
    return model, found
