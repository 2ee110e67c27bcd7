"""The tables of `neural_engine` under the names of ONNX operators.

They need no coremltools.

What `convert` makes is checked again, operation by operation, when it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from types import MappingProxyType

from edgeyolo.backend.capabilities import Finding, Limits, Place, Suppression, Versions
from edgeyolo.backend.op_graph import Graph, Operation

# Operators with a path on every family from the M1 on ([guide] appendix A). `upsample_nearest_neighbor` of a whole
# factor is a deconvolution on the M1, which has no texture engine ([guide] chapter 13), and native from the M2.
OPERATORS = frozenset(
    {"add", "avg_pool", "concat", "conv", "leaky_relu", "max_pool", "mul", "relu", "relu6", "sigmoid", "silu"}
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


# ONNX operator -> operator of an ML program, where the engine runs it.
NAMES: Mapping[str, str] = MappingProxyType(
    {
        onnx: mil
        for onnx, mil in {
            "Add": "add",
            "AveragePool": "avg_pool",
            "Clip": "relu6",
            "Concat": "concat",
            "Conv": "conv",
            "LeakyRelu": "leaky_relu",
            "MaxPool": "max_pool",
            "Mul": "mul",
            "Relu": "relu",
            "Resize": "upsample_nearest_neighbor",
            "Sigmoid": "sigmoid",
        }.items()
        if mil in OPERATORS
    }
    | {"Slice": "slice_by_index"}
)
SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "guide": "S. Bryngelson, ane-guide, https://ane-guide.readthedocs.io",
        "hollance": "M. Hollemans, neural-engine, https://github.com/hollance/neural-engine",
        "apple": "Core ML Tools guide, https://apple.github.io/coremltools/docs-guides",
        "apple4d": "Apple, Deploying Transformers on the Apple Neural Engine",
    }
)


_ACTIVATIONS = ("Clip", "LeakyRelu", "Mul", "Relu", "Sigmoid")


def leading(graph: Graph) -> frozenset[str]:
    """The outputs of the slices, and their concatenation, that a network begins with.

    Space-to-depth.
    """
    found = {graph.input}
    for operation in graph.operations:
        if operation.kind in ("Slice", "Concat") and found.issuperset(operation.inputs):
            found.add(operation.output)
    return frozenset(found - {graph.input})


def shares(operation: Operation, graph: Graph) -> bool:
    """Tell a slice of a convolution's channels.

    `lower` has the convolution give them by itself.
    """
    if operation.kind != "Slice" or operation.attributes["axis"] != 1 or operation.attributes["steps"] != 1:
        return False
    made = {each.output: each for each in graph.operations}
    source = made.get(operation.inputs[0])
    while source is not None and source.kind in _ACTIVATIONS:
        source = made.get(source.inputs[0])
    return source is not None and source.kind == "Conv"


def refuse(operation: Operation, graph: Graph) -> Finding | None:
    """Finding on an operator that the engine has but cannot run here."""
    if operation.kind == "Slice" and operation.output not in leading(graph) and not shares(operation, graph):
        return Finding(REASONS["slice_by_index"] + " [guide]")
    if len(operation.shape) == RANK and (operation.shape[1] > CHANNELS or max(operation.shape[2:]) > SIDE):
        return Finding(f"shape {operation.shape} exceeds {CHANNELS} channels or {SIDE} in a side [guide]")
    if operation.kind == "Conv":
        height, width = operation.attributes["kernel_shape"]
        if width > KERNEL_WIDTH or height > KERNEL_HEIGHT:
            return Finding(f"kernel {height}x{width}, at most {KERNEL_HEIGHT}x{KERNEL_WIDTH} [guide]")
    return None


def elsewhere(operation: Operation, graph: Graph) -> tuple[str, str] | None:
    """Place of a slice that `lower` leaves out: in a convolution beside it."""
    if operation.output in leading(graph):
        return "folded", "space-to-depth becomes part of a 6x6 convolution of stride 2"
    if shares(operation, graph):
        return "folded", "the convolution before it gives these channels by itself"
    return None


def edges(graph: Graph) -> tuple[Place, ...]:
    """Casts between the caller's types and the engine's float16."""
    reason = "the engine has no float32: the image becomes float16 and the maps float32 [apple]"
    return (Place("cast", 1 + len(graph.outputs), "CPU", reason),)


def streamed(graph: Graph) -> tuple[str, ...]:
    """Findings on tensors that exceed the memory on the chip."""
    count = sum(2 * prod(each.shape) > ON_CHIP for each in graph.operations)
    what = (
        f"{count} tensors exceed the {ON_CHIP >> 20} MiB on the chip and are streamed: slower, still correct"
    )
    return (f"{what} [guide]",) if count else ()


FP16 = Limits(
    "neural engine",
    NAMES,
    refuse=refuse,
    elsewhere=elsewhere,
    around=edges,
    reasons=MappingProxyType(
        {
            "Reshape": Finding(REASONS["reshape"] + " [hollance]"),
            "Gather": Finding(REASONS["gather"] + " [guide]"),
            "NonMaxSuppression": Finding(REASONS["non_maximum_suppression"]),
        }
    ),
    suppression=Suppression(
        own=(
            Place("decoding, in float32", 1, "CPU", "the engine has no float32 [apple]"),
            Place("nonMaximumSuppression", 1, "CPU", "Core ML has it on the CPU only"),
        )
    ),
    max_rank=RANK,
    largest=65504.0,
    largest_activation=65504.0,
    weight_bytes=2.0,
    remarks=streamed,
    versions=Versions("macOS", (12,), reason="iOS 15"),
    no_precisions=MappingProxyType(
        {"fp32": "the engine computes in float16 only [apple]; take ane-coreml-fp16"}
    ),
    sources=SOURCES,
)
_NEWER = Versions("macOS", (13,), reason="iOS 16, for compressed weights")
INT8 = replace(FP16, versions=_NEWER, weight_bytes=1.0)
W6 = replace(FP16, versions=_NEWER, weight_bytes=0.75)
