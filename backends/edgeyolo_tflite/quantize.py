"""Quantization of a float32 TFLite file to integers.

int8 in, int8 out, no float operator in between but those that are asked for.

Weights are symmetric with a scale for each output channel, activations have a scale and a zero point for each tensor
(Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018),
biases are int32: the scheme that TFLite's integer kernels and the edge TPU share. Activation ranges come from
calibration images, the arithmetic from ai-edge-quantizer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgeyolo.errors import UsageError
from edgeyolo_tflite import flatbuffer, toolkit
from edgeyolo_tflite.reach import Ranges, within_reach
from edgeyolo_tflite.round_weights import round_weights

TYPICAL = 0.9
"""The share of calibration images whose extremes a range covers. The largest value of all images is that of one pixel
in one of them; giving it up makes the steps of all others finer (yolov7-tiny-silu of half width on 300 generated
scenes: 0.43 AP points lost instead of 0.75, with `reach.within_reach`)."""

# Operators that hand values on: input and output must have one scale, or a requantization stands between them.
_SAME_SCALE = frozenset({"CONCATENATION", "MAX_POOL_2D", "RESIZE_NEAREST_NEIGHBOR", "PAD"})

# The version of an operator on int8 tensors (tensorflow/lite/tools/versioning/op_version.cc). The quantizer keeps
# those of the float operators; interpreters take them, compilers may not.
_INT8_VERSIONS = {
    "ADD": 2, "CONCATENATION": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "DEQUANTIZE": 2, "LOGISTIC": 2,
    "MAX_POOL_2D": 2, "MUL": 2, "PAD": 2, "RELU": 2, "RELU6": 2, "RESIZE_NEAREST_NEIGHBOR": 2, "STRIDED_SLICE": 2,
}  # fmt: skip


def quantize(
    model: bytes, batches: Iterable[NDArray[np.float32]], floats: Collection[str] = (), *, threads: int = 1
) -> bytes:
    """The integer model of a float32 one.

    Args:
        model: what `convert.to_flatbuffer` gives.
        batches: calibration images as the float32 model takes them: (n, height, width, 3), 0..1, n its batch.
        floats: tensors whose operators stay in float32; see `with_ranges` and `layers.float_tensors`.
        threads: CPU threads for running the model on them.

    The same model and images give the same bytes, in any order of the images. Pixels are quantized exactly: the input
    tensor is `pixel - 128`.
    """
    ranges = calibrate(model, batches, threads=threads)
    tree = flatbuffer.read(model)
    round_weights(tree, floats)
    return with_ranges(flatbuffer.write(tree), within_reach(model, ranges), floats)


def calibrate(model: bytes, batches: Iterable[NDArray[np.float32]], *, threads: int = 1) -> dict[str, Any]:
    """Range of every activation.

    TYPICAL of the batches stay below it, and likewise above.

    UsageError where there is no batch, or a wrong one.
    """
    calibrator = toolkit.load("ai_edge_quantizer.calibrator")
    mode = calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED  # the interpreter notes ranges while it runs
    signature = flatbuffer.read(model).signatureDefs[0]
    key, name = flatbuffer.text(signature.signatureKey), flatbuffer.name(signature.inputs[0])
    runner = calibrator.Calibrator(model, num_threads=threads, mode=mode, qsv_update_func=_latest)
    extremes: dict[str, list[tuple[float, float]]] = {}
    for batch in batches:
        _require_pixels(batch)
        with toolkit.quiet():
            runner.calibrate({key: [{name: np.ascontiguousarray(batch)}]}, None)
        for tensor, each in runner.get_model_qsvs().items():
            extremes.setdefault(tensor, []).append((float(np.min(each["min"])), float(np.max(each["max"]))))
    if not extremes:
        raise UsageError(
            "calibration: expected at least one batch of images, got none",
            hint="Some hundred photographs of what the camera will see are usual.",
        )
    return {tensor: _typical(np.array(found)) for tensor, found in extremes.items()}


def _typical(extremes: NDArray[np.float64]) -> tuple[float, float]:
    """Typical range of (images, 2) lows and highs, in any order."""
    lows, highs = extremes.T
    return float(np.quantile(lows, 1 - TYPICAL)), float(np.quantile(highs, TYPICAL))


def with_ranges(model: bytes, ranges: Ranges, floats: Collection[str] = ()) -> bytes:
    """The integer model whose activations have these ranges, wherever they come from.

    Operators that give one of the tensors `floats` stay in float32, between conversions; where one of them ends the
    network, all outputs are float32. Every activation that becomes integers needs a range.
    """
    quantizer = toolkit.load("ai_edge_quantizer.quantizer")
    tree = flatbuffer.read(model)
    settled = share_ranges(tree, ranges)
    if missing := sorted(_integer_tensors(tree, floats) - settled.keys()):
        raise UsageError(f"ranges: {len(missing)} activations have none, the first is {missing[0]!r}")
    recipe = _recipe(tree, floats)
    _disguise_leaky(tree)
    statistics = {
        name: {"min": np.full((1, 1, 1, 1), low, np.float32), "max": np.full((1, 1, 1, 1), high, np.float32)}
        for name, (low, high) in settled.items()
    }
    with toolkit.quiet():
        worker = quantizer.Quantizer(flatbuffer.write(tree), recipe)
        data = worker.quantize(
            statistics, enable_progress_bar=False, enable_progress_report=False
        ).quantized_model
    result = flatbuffer.read(bytes(data))
    _restore_names(result, tree)
    _uncover_leaky(result)
    _set_versions(result)
    return flatbuffer.write(result)


def _integer_tensors(model: Any, floats: Collection[str]) -> set[str]:
    """Names of the activations that an integer operator takes or gives."""
    found: set[str] = set()
    for _, operator in flatbuffer.operators(model):
        given = {flatbuffer.name(each) for each in flatbuffer.tensors(model, operator.outputs)}
        if given.isdisjoint(floats):
            found |= given | {flatbuffer.name(each) for each in flatbuffer.tensors(model, operator.inputs)}
    return found & flatbuffer.activations(model)


def _recipe(model: Any, floats: Collection[str]) -> list[dict[str, Any]]:
    """ai-edge-quantizer's recipe: later entries count more."""
    recipe: list[dict[str, Any]] = list(toolkit.load("ai_edge_quantizer.recipe").static_wi8_ai8())
    left = {"algorithm_key": "no_quantize", "op_config": {}}
    if floats:
        names = "|".join(map(re.escape, sorted(floats)))
        recipe.append({"regex": f"^(?:{names});$", "operation": "*", **left})
    if _outputs(model) & set(floats):
        recipe.append({"regex": ".*", "operation": "OUTPUT", **left})
    return recipe


def _restore_names(model: Any, before: Any) -> None:
    """Give outputs their names back.

    Integers in front of a conversion have kept them.
    """
    table = model.subgraphs[0].tensors
    wanted = flatbuffer.tensors(before, before.subgraphs[0].outputs)
    for index, tensor in zip(model.subgraphs[0].outputs, wanted, strict=True):
        name = flatbuffer.name(tensor)
        for each in table:
            if each is not table[index] and flatbuffer.name(each) == name:
                each.name = f"{name}_integers"
        table[index].name = name


def _outputs(model: Any) -> set[str]:
    return {flatbuffer.name(each) for each in flatbuffer.tensors(model, model.subgraphs[0].outputs)}


def skeleton(model: bytes) -> bytes:
    """The integer model without calibration.

    Operators, types and sizes are final, the numbers mean nothing.

    For checks that should fail before images are read.
    """
    names = flatbuffer.activations(flatbuffer.read(model))
    return with_ranges(model, dict.fromkeys(names, (-1.0, 1.0)))


def share_ranges(model: Any, ranges: Ranges) -> dict[str, tuple[float, float]]:
    """One range for all tensors that meet in a concatenation.

    It holds also for what pooling or enlarging makes of them.

    Every branch then arrives in the scale of the result and no requantization is needed. The input takes 0..1, so
    that its scale is 1/255 and its zero point -128.
    """
    groups = _Groups()
    for kind, operator in flatbuffer.operators(model):
        if kind in _SAME_SCALE:
            ends = [*flatbuffer.tensors(model, operator.inputs), *flatbuffer.tensors(model, operator.outputs)]
            names = [flatbuffer.name(each) for each in ends if flatbuffer.TYPES[each.type] == "FLOAT32"]
            for name in names[1:]:
                groups.join(names[0], name)
    known = dict(ranges)
    known[flatbuffer.name(flatbuffer.tensors(model, model.subgraphs[0].inputs)[0])] = (0.0, 1.0)
    members: dict[str, list[str]] = {}
    for name in known:
        members.setdefault(groups.leader(name), []).append(name)
    for names in members.values():
        low, high = min(known[name][0] for name in names), max(known[name][1] for name in names)
        known.update(dict.fromkeys(names, (low, high)))
    return known


class _Groups:
    """Names joined into groups; each group has a leader."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def leader(self, name: str) -> str:
        while (parent := self._parent.get(name, name)) != name:
            name = parent
        return name

    def join(self, one: str, other: str) -> None:
        self._parent[self.leader(other)] = self.leader(one)


def _latest(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    return now


def _require_pixels(batch: NDArray[Any]) -> None:
    low, high = float(batch.min()), float(batch.max())
    if batch.dtype != np.float32 or not 0 <= low <= high <= 1:
        raise UsageError(
            f"calibration: expected float32 images in 0..1, got {batch.dtype} in {low:g}..{high:g}",
            hint="edgeyolo.runtime.preprocess.preprocess(images, contract) makes such an array.",
        )


def _disguise_leaky(model: Any) -> None:
    """Call LEAKY_RELU a RELU while the quantizer looks.

    It knows the one, and treats it as the other must be treated.

    Both have one input and one output with a scale each. Left alone, LEAKY_RELU would stay in float32 between two
    conversions, though TFLite has an integer kernel for it.
    """
    _rename_codes(model, "LEAKY_RELU", "RELU")


def _uncover_leaky(model: Any) -> None:
    disguised = {
        operator.opcodeIndex
        for kind, operator in flatbuffer.operators(model)
        if kind == "RELU" and isinstance(operator.builtinOptions, schema.LeakyReluOptionsT)
    }
    for index in disguised:
        _set_code(model.operatorCodes[index], "LEAKY_RELU")


def _rename_codes(model: Any, old: str, new: str) -> None:
    for code in model.operatorCodes:
        if flatbuffer.OPERATORS[code.builtinCode] == old:
            _set_code(code, new)


def _set_code(code: Any, kind: str) -> None:
    number = getattr(schema.BuiltinOperator, kind)
    code.builtinCode = number
    code.deprecatedBuiltinCode = min(number, 127)  # an old field of one byte; 127 points to the new one


def _set_versions(model: Any) -> None:
    for kind, operator in flatbuffer.operators(model):
        code = model.operatorCodes[operator.opcodeIndex]
        code.version = max(code.version, _version(model, kind, operator))


def _version(model: Any, kind: str, operator: Any) -> int:
    first, *_ = flatbuffer.tensors(model, operator.inputs)
    if flatbuffer.TYPES[first.type] != "INT8":
        return 1
    if kind == "MUL":
        one, other = (each.quantization.scale[0] for each in flatbuffer.tensors(model, operator.inputs))
        (out,) = flatbuffer.tensors(model, operator.outputs)
        if one * other >= out.quantization.scale[0]:
            return 3  # the product is scaled up, not down
    return _INT8_VERSIONS.get(kind, 1)
