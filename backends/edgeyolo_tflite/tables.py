"""What the Coral edge TPU takes: data alone, under the names of the TFLite schema.

Sources:
    [models]   Coral, "TensorFlow models on the Edge TPU": model requirements, supported operations (table 1)
               https://coral.ai/docs/edgetpu/models-intro
    [compiler] Coral, "Edge TPU Compiler": parameter data caching, the log's words
               https://coral.ai/docs/edgetpu/compiler
    [axis]     Axis, "ARTPEC-7 supported ops": the same chip, table 1 of [models] as of runtime 14
               https://developer.axis.com/computer-vision/on-device/system-on-chip/artpec-7/supported-ops/
    [#n]       https://github.com/google-coral/edgetpu/issues/n
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

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
