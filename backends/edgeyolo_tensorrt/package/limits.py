"""Limits of TensorRT on each of its devices.

Versions and GPUs are those of `facts`.

Sources:
    [parser]  onnx/onnx-tensorrt, docs/operators.md of 8.5-GA: operators up to opset 17
              https://github.com/onnx/onnx-tensorrt/blob/release/8.5-GA/docs/operators.md
    [notes]   TensorRT release notes, quoted in `facts.GENERATIONS`
    [int8]    TensorRT developer guide, "Working with Quantized Types": Volta has no INT8 tensor cores
              https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edgeyolo.backend.capabilities import Limits, Suppression, Versions
from edgeyolo.backend.op_graph import Graph, Operation
from edgeyolo_tensorrt.facts import MINIMUM, OPSET, VOLTA

# ONNX operator -> TensorRT's layer, for all that [parser] takes of what networks of the family hold; `half` types
# each of them in float16.
LAYERS: Mapping[str, str] = MappingProxyType(
    {
        "Add": "ElementWise",
        "Clip": "Activation",
        "Concat": "Concatenation",
        "Conv": "Convolution",
        "LeakyRelu": "Activation",
        "MaxPool": "Pooling",
        "Mul": "ElementWise",
        "Relu": "Activation",
        "Resize": "Resize",
        "Sigmoid": "Activation",
        "Slice": "Slice",
    }
)
SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "parser": "onnx/onnx-tensorrt 8.5-GA, docs/operators.md",
        "notes": "TensorRT release notes",
        "int8": "TensorRT developer guide, Working with Quantized Types",
        "rules": "edgeyolo_calib/rules.py",
    }
)


def in_float(operation: Operation, graph: Graph) -> tuple[str, str] | None:
    """The convolutions that get no quantizers."""
    from edgeyolo_calib.quantize.rules import TENSORRT

    convolutions = [each for each in graph.operations if each.kind == "Conv"]
    if operation in convolutions[: TENSORRT.stem] or operation.output in graph.outputs:
        return (
            "GPU, float",
            "the first and last convolutions keep float: few operations, much accuracy [rules]",
        )
    return None


def limits(device: str, precision: str) -> Limits:
    """Limits of the target `device`-trt-`precision`."""
    versions = Versions("TensorRT", MINIMUM)
    if device == "v100":
        versions = Versions("TensorRT", MINIMUM, VOLTA.removed, f"{VOLTA.source} [notes]")
    return Limits(
        accelerator="GPU" if precision != "int8" else "GPU, integers",
        operators=LAYERS,
        elsewhere=in_float if precision == "int8" else lambda operation, graph: None,
        suppression=Suppression(
            "" if precision == "fp32" else "GPU, float32",
            "" if precision == "fp32" else "a box in float16 would be off by a third of a pixel",
            plugin=True,
        ),
        largest=65504.0 if precision != "fp32" else None,
        largest_activation=65504.0 if precision != "fp32" else None,
        opsets=(13 if precision == "int8" else 11, OPSET),
        versions=versions,
        weight_bytes={"fp16": 2.0, "int8": 6.0}.get(precision, 4.0),  # integers: both forms, see `typed`
        notes=(_INT8_NOTES[device],) if precision == "int8" else (),
        no_precisions=MappingProxyType({"fp8": f"{device}: FP8 needs Ada, Hopper or newer GPUs"}),
        sources=SOURCES,
    )


_INT8_NOTES: Mapping[str, str] = MappingProxyType(
    {
        "v100": "Volta computes int8 without tensor cores (DP4A): fp16 is usually faster there [int8]",
        "jetson": "integers need Xavier, Orin or newer; the GPU of the Nano (Maxwell) has none [int8]",
        "gpu": "integers on tensor cores need Turing or newer [int8]",
    }
)
