"""What the Apple Neural Engine runs: data alone.

Apple publishes no list. The tables hold what others measured; a program inside them runs on the engine as far as is
known, and one outside them is split between the engine and the CPU, which is what an `ane` target is meant to exclude.

Sources:
    [guide]    S. Bryngelson, ane-guide, chapters 3, 17, 19 and appendix A, measured on M1, M2 and M5
               https://ane-guide.readthedocs.io
    [hollance] M. Hollemans, neural-engine, docs/unsupported-layers.md and docs/16-bit.md
               https://github.com/hollance/neural-engine
    [apple]    Core ML Tools guide, "Typed Execution" and "Optimizations: What's New"
               https://apple.github.io/coremltools/docs-guides
    [apple4d]  Apple, "Deploying Transformers on the Apple Neural Engine": tensors are 4-D, channels first
               https://machinelearning.apple.com/research/neural-engine-transformers
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Operators with a path on every family from the M1 on ([guide] appendix A). `upsample_nearest_neighbor` of a whole
# factor is a deconvolution on the M1, which has no texture engine ([guide] chapter 13), and native from the M2.
OPERATORS = frozenset(
    {"add", "avg_pool", "concat", "conv", "leaky_relu", "max_pool", "mul", "relu", "sigmoid", "silu"}
    | {"upsample_nearest_neighbor"}
)
# Folded when the program is compiled, before anything runs ([guide] appendix A, "Quantization and dtype").
FOLDED = frozenset({"const", "constexpr_affine_dequantize", "constexpr_lut_to_dense"})

RANK = 4  # [apple4d]; the engine itself has five axes ([guide] chapter 17)
SIDE, CHANNELS = 16384, 65536  # [guide] table "per-operation design rules": one more rejects
KERNEL_WIDTH, KERNEL_HEIGHT = 13, 29  # of a float16 convolution on the M1 ([guide], same table)
ON_CHIP = 2 * 2**20  # bytes; a larger tensor is streamed, slower and still correct ([guide] chapter 17)
REASONS: Mapping[str, str] = MappingProxyType(
    {
        "slice_by_index": "slices with an odd first column pass through a fixed-point format on M1 and M2",
        "reshape": "the 5-D reshape of anchors leaves the engine; decode the raw maps on the host",
        "gather": "gather needs the texture engine of the M2 and later",
        "non_maximum_suppression": "suppression runs on the CPU: use the detector package, or the host",
    }
)
