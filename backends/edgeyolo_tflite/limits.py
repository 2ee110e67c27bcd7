"""The edge TPU's `tables` under the names of ONNX operators.

They need no conversion.

What the converter makes is checked again, operator by operator, when it is made (`check`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edgeyolo.backend.capabilities import Finding, Limits, Memory, Place
from edgeyolo.backend.op_graph import Graph, Operation

# [models] table 1 and [axis], under the names of the TFLite schema.
OPERATORS = frozenset(
    {"ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "EXPAND_DIMS", "FULLY_CONNECTED"}
    | {"L2_NORMALIZATION", "LOGISTIC", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL", "PACK", "PAD", "PRELU"}
    | {"QUANTIZE", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR"}
    | {"RESIZE_NEAREST_NEIGHBOR", "SLICE", "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "SUB"}
    | {"TANH"}
)  # fmt: skip
COMPILED = "edgetpu-custom-op"  # what the compiler leaves in place of the operators that it took

# The first version that compilers up to 16.0, the last, were seen to refuse.
# RESIZE_NEAREST_NEIGHBOR: "Operation version not supported" in logs of 14.1; the others are [#631] and [#845].
REFUSED_VERSIONS: Mapping[str, int] = MappingProxyType(
    {"CONV_2D": 6, "RESIZE_NEAREST_NEIGHBOR": 3, "TRANSPOSE_CONV": 4}
)
REASONS: Mapping[str, str] = MappingProxyType(
    {
        "LEAKY_RELU": "no operator of the edge TPU ([#272], [#597]); max(x, 0.1 x) has aborted its compiler ([#185])",
        "DEQUANTIZE": "the values behind it are floats, which the edge TPU does not compute",
        COMPILED: "the model is compiled already",
    }
)
UNFUSED = frozenset(
    {"AVERAGE_POOL_2D", "CONCATENATION", "MAX_POOL_2D"}
)  # [models]: no fused activation function
INTEGERS = frozenset({"INT8", "UINT8", "INT32"})  # int32 for biases and for shapes
SRAM = 8 * 2**20  # bytes on the chip, for parameters and activations together; "roughly 8 MB" ([compiler])
LEAKY_HINT = (
    "yolov7-tiny-silu is the same network with SiLU, which the edge TPU runs (LOGISTIC and MUL): train and export "
    "that one, or train this one again with `edgeyolo train --activation relu`. On a CPU, cpu-tflite-fp32 takes it."
)


# ONNX operator -> TFLite operator.
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "Add": "ADD",
        "AveragePool": "AVERAGE_POOL_2D",
        "Clip": "RELU6",
        "Concat": "CONCATENATION",
        "Conv": "CONV_2D",
        "LeakyRelu": "LEAKY_RELU",
        "MaxPool": "MAX_POOL_2D",
        "Mul": "MUL",
        "Relu": "RELU",
        "Resize": "RESIZE_NEAREST_NEIGHBOR",
        "Sigmoid": "LOGISTIC",
        "Slice": "STRIDED_SLICE",
    }
)
SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "models": "Coral, TensorFlow models on the Edge TPU, https://coral.ai/docs/edgetpu/models-intro",
        "compiler": "Coral, Edge TPU Compiler, https://coral.ai/docs/edgetpu/compiler",
    }
    | {f"#{n}": f"https://github.com/google-coral/edgetpu/issues/{n}" for n in (185, 272, 512, 597)}
)


def refuse(operation: Operation, graph: Graph) -> Finding | None:
    """Finding on an operator that the edge TPU has but cannot run here."""
    if operation.kind == "Slice" and operation.attributes["steps"] != 1:
        return Finding(
            f"strides {operation.attributes['steps']}, the edge TPU slices with stride 1 only [models]",
            "The P6 networks begin with space-to-depth; take yolov7-tiny-silu.",
        )
    if operation.kind == "Conv":
        height, width = operation.attributes["dilations"]
        if height != width:
            return Finding(f"dilation {height}x{width}, both must be equal [models]")
    if len(operation.shape) != 4:
        return Finding(f"a tensor of rank {len(operation.shape)}, expected images and maps [models]")
    return None


def padding(graph: Graph) -> tuple[Place, ...]:
    """PAD operators in front of convolutions of a stride.

    TFLite's SAME pads at the other end than torch does.
    """
    count = sum(each.kind == "Conv" and max(each.attributes["strides"]) > 1 for each in graph.operations)
    return (Place("PAD", count, "edge TPU"),) if count else ()


EDGE_TPU = Limits(
    "edge TPU",
    MappingProxyType({onnx: name for onnx, name in NAMES.items() if name in OPERATORS}),
    refuse=refuse,
    around=padding,
    reasons=MappingProxyType({"LeakyRelu": Finding(REASONS["LEAKY_RELU"], LEAKY_HINT)}),
    cut="behind an operator that the edge TPU does not take: its compiler cuts a graph once [models]",
    max_batch=1,
    memory=Memory(
        SRAM,
        1,
        refuses=True,
        otherwise="what does not fit is sent for every image [compiler]",
        hint="Take a smaller --imgsz: 320 is safe for yolov7-tiny-silu.",
        source='(the compiler stops with "large activation tensors" [#512])',
    ),
    no_precisions=MappingProxyType(
        {
            "fp32": "the edge TPU computes in int8 only [models]; take edgetpu-tflite-int8",
            "fp16": "the edge TPU computes in int8 only [models]; take edgetpu-tflite-int8",
        }
    ),
    weight_bytes=1.05,
    notes=("without edgetpu_compiler the artifact is compiled later, on x86-64 Linux",),
    sources=SOURCES,
)
CPU = Limits("CPU", NAMES, strict=False)


def in_float(operation: Operation, graph: Graph) -> tuple[str, str] | None:
    """The last convolution of each output, which is not quantized for CPUs."""
    if operation.kind == "Conv" and operation.output in graph.outputs:
        return "CPU, float32", "raw maps decide boxes to a fraction of a cell"
    return None


CPU_INT8 = Limits(
    "CPU, integers", NAMES, weight_bytes=1.05, strict=False, elsewhere=in_float, fallback="CPU, float32"
)
