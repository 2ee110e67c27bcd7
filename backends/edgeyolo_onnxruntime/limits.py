"""Limits of ONNX Runtime on CPUs.

They include what stays in float where the rest is in integers.

Sources:
    [versions] ONNX Runtime, "Compatibility": opsets from 7 on; 1.17, the oldest that edgeyolo runs on, reads up to 20
               https://onnxruntime.ai/docs/reference/compatibility.html
    [rules]    edgeyolo_calib.quantize.rules.ONNXRUNTIME: where quantizers are put, and why
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgeyolo.backend.capabilities import Limits, Suppression

if TYPE_CHECKING:
    from edgeyolo.backend.op_graph import Graph, Operation

FLOAT = Limits("CPU", opsets=(11, 20), sources=MappingProxyType({"versions": "ONNX Runtime, Compatibility"}))

HALF = replace(FLOAT, weight_bytes=2.0, largest=65504.0)


def in_float(operation: Operation, graph: Graph) -> tuple[str, str] | None:
    """The convolutions that are not quantized.

    The first two, and the last of each output.
    """
    from edgeyolo_calib.quantize.rules import ONNXRUNTIME

    convolutions = [each for each in graph.operations if each.kind == "Conv"]
    if operation in convolutions[: ONNXRUNTIME.stem]:
        return "CPU, float32", "few channels gain no time from integers, and lose accuracy [rules]"
    if operation.output in graph.outputs:
        return "CPU, float32", "raw maps decide boxes to a fraction of a cell [rules]"
    return None


INT8 = replace(
    FLOAT,
    accelerator="CPU, integers",
    weight_bytes=1.05,
    opsets=(13, 20),  # quantizers with a scale for each channel
    operators=MappingProxyType(
        {
            "Add": "QLinearAdd",
            "Clip": "QLinearConv",
            "Concat": "Concat",
            "Conv": "QLinearConv",
            "LeakyRelu": "QLinearLeakyRelu",
            "MaxPool": "MaxPool",
            "Mul": "QLinearMul",
            "Relu": "QLinearConv",
            "Resize": "Resize",
            "Sigmoid": "QLinearSigmoid",
            "Slice": "Slice",
        }
    ),
    elsewhere=in_float,
    suppression=Suppression("CPU, float32", "an integer's step would move corners"),
    fallback="CPU, float32",
    strict=False,
    notes=(
        "integers are faster than float32 on CPUs with VNNI (AVX512-VNNI, AVX-VNNI, ARM dot product) only",
        "without VNNI, set session.x64quantprecision to 1 in programs of your own: sums are cut otherwise",
    ),
    sources=MappingProxyType({**FLOAT.sources, "rules": "edgeyolo_calib/rules.py"}),
)
