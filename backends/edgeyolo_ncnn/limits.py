"""Limits of ncnn on CPUs, as far as networks of the family meet them.

Sources:
    [layers] Tencent, ncnn: https://github.com/Tencent/ncnn/wiki/operation-param-weight-table
    [rules]  edgeyolo_calib.quantize.rules.NCNN: where quantizers are put, and why
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from edgeyolo.backend.capabilities import Limits
from edgeyolo.backend.op_graph import Graph, Operation

OPERATORS = MappingProxyType(
    {
        "Add": "BinaryOp",
        "Clip": "Clip",
        "Concat": "Concat",
        "Conv": "Convolution",
        "LeakyRelu": "ReLU",
        "MaxPool": "Pooling",
        "Mul": "BinaryOp",
        "Relu": "ReLU",
        "Resize": "Interp",
        "Sigmoid": "Sigmoid",
        "Slice": "ConvolutionDepthWise",
    }
)
FLOAT = Limits(
    "CPU",
    OPERATORS,
    max_batch=1,
    opsets=(11, 20),
    sources=MappingProxyType({"layers": "Tencent, ncnn", "rules": "edgeyolo_calib/rules.py"}),
)
HALF = replace(FLOAT, weight_bytes=2.0, largest=65504.0, largest_activation=65504.0)


def in_float(operation: Operation, graph: Graph) -> tuple[str, str] | None:
    """Operations that stay in float.

    They are all but convolutions and, of those, the first two, the last of each output, and those in groups of several
    channels.
    """
    from edgeyolo_calib.quantize.rules import NCNN

    if operation.kind != "Conv":
        return "CPU, float32", "ncnn's integers are those of convolutions [layers]"
    convolutions = [each for each in graph.operations if each.kind == "Conv"]
    if operation in convolutions[: NCNN.stem]:
        return "CPU, float32", "few channels gain no time from integers, and lose accuracy [rules]"
    if operation.output in graph.outputs:
        return "CPU, float32", "raw maps decide boxes to a fraction of a cell [rules]"
    if operation.attributes["group"] not in (1, operation.shape[1]):
        return "CPU, float32", "ncnn's integers of groups of several channels give other maps"
    return None


INT8 = replace(
    FLOAT,
    accelerator="CPU, integers",
    elsewhere=in_float,
    fallback="CPU, float32",
    weight_bytes=1.1,
)
