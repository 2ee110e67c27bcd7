"""Operations of the Apple Neural Engine.

They are checked on a finished program before it becomes an artifact.

The tables and their sources are in `tables`; `limits` holds them against a network before there is a program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from edgeyolo.errors import UnsupportedTargetError
from edgeyolo_coreml.limits import (
    CHANNELS,
    FOLDED,
    KERNEL_HEIGHT,
    KERNEL_WIDTH,
    ON_CHIP,
    OPERATORS,
    RANK,
    REASONS,
    SIDE,
)


@dataclass(frozen=True)
class Placement:
    """Placement of a program's operations.

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
    """The placement of `program`.

    UnsupportedTargetError lists what the engine does not take.
    """
    found = placement(program)
    if found.misfits:
        shown = "\n".join(f"  {sentence}" for sentence in found.misfits[:8])
        more = f"\n  and {len(found.misfits) - 8} more" if len(found.misfits) > 8 else ""
        raise UnsupportedTargetError(
            f"{target}: {len(found.misfits)} operations do not run on the neural engine:\n{shown}{more}",
            hint="cpu-onnx-fp32 takes any network; the tables are in edgeyolo_coreml/tables.py.",
        )
    return found


def _is_edge(operation: Any, images: set[str]) -> bool:
    """Between the caller's float32 and the engine's float16.

    Casts, and the scale of an input.
    """
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
