"""Limits of the Hexagon NPU as Qualcomm's provider drives it.

Sources:
    [provider] ONNX Runtime, "QNN Execution Provider": operators, float16, batches of a fixed size, context binaries
               https://onnxruntime.ai/docs/execution-providers/QNN-ExecutionProvider.html
    [rules]    edgeyolo_calib.quantize.rules.HEXAGON: where quantizers are put, and why
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from edgeyolo.backend.capabilities import Limits
from edgeyolo.backend.op_graph import Graph, Operation

# ONNX operator -> QNN's, for all that networks of the family hold. The provider itself is asked in the tests, operator
# by operator, and by every export: nothing may run elsewhere.
OPERATORS = MappingProxyType(
    {
        "Add": "ElementWiseAdd",
        "AveragePool": "PoolAvg2d",
        "Clip": "ReluMinMax",
        "Concat": "Concat",
        "Conv": "Conv2d",
        "LeakyRelu": "Prelu",
        "MaxPool": "PoolMax2d",
        "Mul": "ElementWiseMultiply",
        "Relu": "Relu",
        "Resize": "ResizeNearestNeighbor",
        "Sigmoid": "Sigmoid",
        "Slice": "StridedSlice",
    }
)
FLOAT = Limits(
    "Hexagon NPU",
    OPERATORS,
    opsets=(11, 21),
    largest=65504.0,
    largest_activation=65504.0,
    weight_bytes=4.0,  # float16 in the portable file and in the compiled one
    no_precisions=MappingProxyType(
        {"fp32": "the NPU computes floats in float16 [provider]; take hexagon-qnn-fp16"}
    ),
    notes=("the compiled file loads on the chip it was made for (--soc); model.onnx is compiled on any",),
    sources=MappingProxyType(
        {"provider": "ONNX Runtime, QNN Execution Provider", "rules": "edgeyolo_calib/rules.py"}
    ),
)


def in_half(operation: Operation, graph: Graph) -> tuple[str, str] | None:
    """The convolutions that are not quantized.

    They are the first two, and the last of each output.
    """
    from edgeyolo_calib.quantize.rules import HEXAGON

    convolutions = [each for each in graph.operations if each.kind == "Conv"]
    if operation in convolutions[: HEXAGON.stem]:
        return "Hexagon NPU, float16", "errors made there spread over flat parts of the picture [rules]"
    if operation.output in graph.outputs:
        return "Hexagon NPU, float16", "raw maps decide boxes to a fraction of a cell [rules]"
    return None


INT8 = replace(
    FLOAT,
    accelerator="Hexagon NPU, integers",
    elsewhere=in_half,
    opsets=(13, 21),
    weight_bytes=2.1,
)
