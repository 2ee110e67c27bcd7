"""What the Apple Neural Engine runs, checked on a finished program before it becomes an artifact.

Apple publishes no list. The tables below hold what others measured; a program inside them runs on the engine as
far as is known, and one outside them is split between the engine and the CPU, which is what an `ane` target is
meant to exclude.

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

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from edgeyolo.errors import UnsupportedTargetError

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


@dataclass(frozen=True)
class Placement:
    """Where the operations of a program run.

    `engine` counts the operators inside the tables; `edges` those that turn the image into float16 and the maps
    into float32, which the CPU does, for the engine has no float32 ([apple]); `misfits` are sentences about what
    the engine does not take; `streamed` counts tensors above the on-chip size, which cost time only.
    """

    engine: Mapping[str, int]
    edges: Mapping[str, int]
    misfits: tuple[str, ...]
    streamed: int


def placement(program: Any) -> Placement:
    """Check a pymil program, operation by operation."""
    engine: Counter[str] = Counter()
    edges: Counter[str] = Counter()
    misfits: list[str] = []
    streamed = 0
    function = program.functions["main"]
    images = set(function.inputs)
    for operation in function.operations:
        if operation.op_type in FOLDED:
            continue
        if _is_edge(operation, images):
            edges[operation.op_type] += 1
            continue
        found = list(_misfits(operation))
        misfits += [f"{operation.op_type} {operation.name!r}: {sentence}" for sentence in found]
        engine[operation.op_type] += not found
        shapes = [output.shape for output in operation.outputs if _is_static(output.shape)]
        streamed += sum(2 * prod(shape) > ON_CHIP for shape in shapes)
    return Placement(dict(+engine), dict(edges), tuple(misfits), streamed)


def require_neural_engine(program: Any, target: str) -> Placement:
    """The placement of `program`; UnsupportedTargetError lists what the engine does not take."""
    found = placement(program)
    if found.misfits:
        shown = "\n".join(f"  {sentence}" for sentence in found.misfits[:8])
        more = f"\n  and {len(found.misfits) - 8} more" if len(found.misfits) > 8 else ""
        raise UnsupportedTargetError(
            f"{target}: {len(found.misfits)} operations do not run on the neural engine:\n{shown}{more}",
            hint="cpu-onnx-fp32 takes any network; the tables are in edgeyolo_coreml/neural_engine.py.",
        )
    return found


def _is_edge(operation: Any, images: set[str]) -> bool:
    """Between the caller's float32 and the engine's float16: casts, and the scale of an input."""
    if operation.op_type == "cast":
        return "fp32" in {operation.x.dtype.__name__, operation.outputs[0].dtype.__name__}
    return operation.op_type == "mul" and operation.x.name in images


def _misfits(operation: Any) -> Iterator[str]:
    kind = operation.op_type
    if kind not in OPERATORS:
        yield REASONS.get(kind, "no operator of the engine")
        return
    for output in operation.outputs:
        yield from _tensor_misfits(output)
    if kind == "conv":
        yield from _kernel_misfits(operation)


def _tensor_misfits(variable: Any) -> Iterator[str]:
    shape, dtype = variable.shape, variable.dtype.__name__
    if not _is_static(shape):
        yield f"shape {tuple(map(str, shape))} is not static"
        return
    if len(shape) > RANK:
        yield f"rank {len(shape)}, the engine takes at most {RANK}"
    if dtype != "fp16":
        yield f"{dtype}, the engine computes in fp16 only"
    if len(shape) == RANK and (shape[1] > CHANNELS or max(shape[2:]) > SIDE):
        yield f"shape {tuple(shape)} exceeds {CHANNELS} channels or {SIDE} in a side"


def _kernel_misfits(operation: Any) -> Iterator[str]:
    out, _, *kernel = operation.weight.shape
    groups = int(operation.groups.val)
    if len(kernel) != 2:
        yield f"a convolution over {len(kernel)} axes"
        return
    height, width = kernel
    if width > KERNEL_WIDTH or height > KERNEL_HEIGHT:
        yield f"kernel {height}x{width}, at most {KERNEL_HEIGHT}x{KERNEL_WIDTH}"
    if out % groups or operation.x.shape[1] % groups:
        yield f"{groups} groups do not divide {operation.x.shape[1]} and {out} channels"


def _is_static(shape: Any) -> bool:
    return all(isinstance(side, (int, np.integer)) for side in shape)
