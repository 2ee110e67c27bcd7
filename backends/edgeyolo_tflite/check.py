"""Limits of the Coral edge TPU, checked on the flatbuffer.

`edgetpu_compiler` is not needed to know the answer.

The tables and their sources are in `tables`; `limits` holds them against a network before there is a flatbuffer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from edgeyolo.errors import UnsupportedTargetError
from edgeyolo_tflite import flatbuffer
from edgeyolo_tflite.limits import (
    INTEGERS,
    LEAKY_HINT,
    OPERATORS,
    REASONS,
    REFUSED_VERSIONS,
    SRAM,
    UNFUSED,
)


@dataclass(frozen=True)
class Coverage:
    """Places of an integer model's operators, and its needs.

    Attributes:
        edge_tpu: operators that the compiler takes, by kind.
        cpu: operators that stay on the CPU: the first one that the edge TPU does not have, and all behind it, because
            the compiler cuts a graph once ([models]).
        misfits: sentences about what makes the model unfit.
        notes: sentences about what costs time only.
        parameters: bytes of weights and biases; what finds no room on the chip is sent for every image ([compiler]).
        activations: bytes that are alive at the busiest operator, an estimate: the compiler may tile them.
    """

    edge_tpu: Mapping[str, int]
    cpu: Mapping[str, int]
    misfits: tuple[str, ...]
    notes: tuple[str, ...]
    parameters: int
    activations: int

    @property
    def share(self) -> float:
        """The part of the operators that runs on the edge TPU, 0..1."""
        taken, left = sum(self.edge_tpu.values()), sum(self.cpu.values())
        return taken / max(taken + left, 1)


def coverage(data: bytes, where: str = "the TFLite model") -> Coverage:
    """Check a TFLite file against the edge TPU. DamagedFileError where it is none."""
    model = flatbuffer.read(data, where)
    edge_tpu: Counter[str] = Counter()
    cpu: Counter[str] = Counter()
    misfits = Counter(_tensor_misfits(model))
    for kind, operator in flatbuffer.operators(model):
        found = list(_operator_misfits(model, kind, operator))
        misfits.update(f"{kind}: {sentence}" for sentence in found)
        (cpu if found or cpu else edge_tpu)[kind] += 1
    parameters, activations = parameter_bytes(model), peak_activations(model)
    if activations > SRAM:
        misfits[
            f"activations need {_mib(activations)} at once, the chip has {_mib(SRAM)}: the compiler stops with "
            '"large activation tensors" ([#512]); take a smaller --imgsz, 320 is safe for yolov7-tiny-silu'
        ] += 1
    notes = []
    if parameters + activations > SRAM:
        notes.append(
            f"parameters are {_mib(parameters)} beside {_mib(activations)} of activations, the chip has {_mib(SRAM)}: "
            "what does not fit is sent for every image"
        )
    said = tuple(text if count == 1 else f"{text} ({count} times)" for text, count in misfits.items())
    return Coverage(dict(edge_tpu), dict(cpu), said, tuple(notes), parameters, activations)


def require_edge_tpu(data: bytes, target: str) -> Coverage:
    """The coverage of an integer model that the edge TPU takes whole.

    UnsupportedTargetError lists what misfits.
    """
    found = coverage(data)
    if found.misfits:
        lines = "\n".join(f"  {sentence}" for sentence in found.misfits)
        hint = LEAKY_HINT if "LEAKY_RELU" in found.cpu else "cpu-tflite-fp32 takes any network."
        raise UnsupportedTargetError(
            f"{target}: the edge TPU does not take this network:\n{lines}", hint=hint
        )
    return found


def parameter_bytes(model: Any) -> int:
    """Bytes of constant tensors: weights, biases, shapes."""
    used = {tensor.buffer for tensor in model.subgraphs[0].tensors}
    return sum(len(model.buffers[index].data) for index in used if model.buffers[index].data is not None)


def peak_activations(model: Any) -> int:
    """Largest sum of bytes of the activations alive at one operator.

    They are those that an operator reads, writes or leaves alive for a later one.
    """
    graph = model.subgraphs[0]
    last = {index: place for place, each in enumerate(graph.operators) for index in each.inputs}
    last.update(dict.fromkeys(graph.outputs, len(graph.operators)))
    size = {
        index: prod(tensor.shape) * (4 if flatbuffer.TYPES[tensor.type] in ("FLOAT32", "INT32") else 1)
        for index, tensor in enumerate(graph.tensors)
        if not flatbuffer.is_constant(model, tensor)
    }
    alive, peak = set(graph.inputs), 0
    for place, operator in enumerate(graph.operators):
        alive |= {index for index in operator.outputs if index in size}
        peak = max(peak, sum(size[index] for index in alive))
        alive = {index for index in alive if last.get(index, -1) > place}
    return peak


def _operator_misfits(model: Any, kind: str, operator: Any) -> Iterator[str]:
    if kind not in OPERATORS:
        yield REASONS.get(kind, "no operator of the edge TPU ([models], table 1)")
        return
    version = model.operatorCodes[operator.opcodeIndex].version
    if version >= REFUSED_VERSIONS.get(kind, version + 1):
        yield f"version {version}, which its compilers do not know"
    options = operator.builtinOptions
    if kind in UNFUSED and options.fusedActivationFunction:
        yield "has a fused activation function, the edge TPU wants it apart"
    if kind in ("CONV_2D", "DEPTHWISE_CONV_2D") and options.dilationWFactor != options.dilationHFactor:
        yield f"dilation {options.dilationHFactor}x{options.dilationWFactor}, both must be equal"
    if kind == "STRIDED_SLICE" and _strides(model, operator) != {1}:
        yield f"strides {sorted(_strides(model, operator))}, the edge TPU slices with stride 1 only"


def _strides(model: Any, operator: Any) -> set[int]:
    (*_, strides) = flatbuffer.tensors(model, operator.inputs)
    return set(flatbuffer.integers(model, strides))


def _tensor_misfits(model: Any) -> Iterator[str]:
    graph = model.subgraphs[0]
    ends = {*graph.inputs, *graph.outputs}
    for index, tensor in enumerate(graph.tensors):
        kind = flatbuffer.TYPES[tensor.type]
        if kind not in INTEGERS:
            yield f"tensors of {kind}, the edge TPU computes in int8 only"
        elif index in ends and kind == "INT32":
            yield f"{flatbuffer.name(tensor)!r} is int32, input and outputs must be int8"
        if any(side < 1 for side in [*tensor.shape, *_signature(tensor)]):
            yield f"{flatbuffer.name(tensor)!r} has the shape {list(_signature(tensor))}, every size must be fixed"
        elif not flatbuffer.is_constant(model, tensor) and prod(tensor.shape[:-3]) != 1:
            yield f"tensors of batch {prod(tensor.shape[:-3])}, only the three innermost sizes may exceed 1"


def _signature(tensor: Any) -> list[int]:
    """The shape with -1 for open sizes, where the file has one; the shape otherwise."""
    signature = tensor.shapeSignature
    return list(tensor.shape if signature is None or len(signature) == 0 else signature)


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
