"""What the Coral edge TPU takes, checked on the flatbuffer: `edgetpu_compiler` is not needed to know the answer.

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

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

from edgeyolo.errors import UnsupportedTargetError
from edgeyolo_tflite import flatbuffer

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
    "that one. On a CPU, cpu-tflite-fp32 takes this one."
)


@dataclass(frozen=True)
class Coverage:
    """Where the operators of an integer model will run, and what it needs.

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
    """The coverage of an integer model that the edge TPU takes whole; UnsupportedTargetError lists what misfits."""
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
    """The largest sum of bytes of the activations that an operator reads, writes or leaves alive for a later one."""
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
