"""Operators that the edge TPU does not take are found in the flatbuffer, and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeyolo.errors import DamagedFileError, UnsupportedTargetError

pytest.importorskip("ai_edge_litert", reason="needs the tflite extra")

from ai_edge_litert import schema_py_generated as schema

from edgeyolo_tflite import check, flatbuffer


def changed(data: bytes, change: Callable[[Any], None]) -> bytes:
    model = flatbuffer.read(data)
    change(model)
    return flatbuffer.write(model)


def first(model: Any, kind: str) -> Any:
    return next(each for found, each in flatbuffer.operators(model) if found == kind)


def test_the_integer_model_runs_there_whole(integer_model: bytes) -> None:
    found = check.require_edge_tpu(integer_model, "edgetpu-tflite-int8")
    assert found.share == 1.0
    assert not found.cpu
    assert not found.misfits
    assert not found.notes
    assert sum(found.edge_tpu.values()) == len(flatbuffer.read(integer_model).subgraphs[0].operators)


def test_floats_are_refused(float_model: bytes) -> None:
    with pytest.raises(
        UnsupportedTargetError, match="tensors of FLOAT32, the edge TPU computes in int8 only"
    ):
        check.require_edge_tpu(float_model, "edgetpu-tflite-int8")


def test_leaky_relu_is_refused_with_the_way_out(
    leaky_model: bytes, leaky_calibration: list[np.ndarray]
) -> None:
    from edgeyolo_tflite.quantize import quantize

    with pytest.raises(UnsupportedTargetError) as caught:
        check.require_edge_tpu(quantize(leaky_model, leaky_calibration), "edgetpu-tflite-int8")
    assert "LEAKY_RELU: no operator of the edge TPU" in caught.value.message
    assert "yolov7-tiny-silu" in caught.value.hint
    assert caught.value.exit_code == 5


def test_everything_behind_a_foreign_operator_stays_on_the_cpu(integer_model: bytes) -> None:
    """The compiler cuts a graph once, at the first operator it does not know."""

    def last_convolution_is_foreign(model: Any) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FLOOR
        model.operatorCodes.append(code)
        operators = model.subgraphs[0].operators
        operators[-3].opcodeIndex = len(model.operatorCodes) - 1

    found = check.coverage(changed(integer_model, last_convolution_is_foreign))
    assert sum(found.cpu.values()) == 3
    assert found.cpu["FLOOR"] == 1
    assert 0.9 < found.share < 1.0
    assert found.misfits == ("FLOOR: no operator of the edge TPU ([models], table 1)",)


@pytest.mark.parametrize(("kind", "version"), [("CONV_2D", 6), ("RESIZE_NEAREST_NEIGHBOR", 3)])
def test_versions_that_compilers_refuse(integer_model: bytes, kind: str, version: int) -> None:
    def newer(model: Any) -> None:
        model.operatorCodes[first(model, kind).opcodeIndex].version = version

    found = check.coverage(changed(integer_model, newer))
    assert any(f"{kind}: version {version}" in sentence for sentence in found.misfits)


def test_open_sizes_are_refused(integer_model: bytes) -> None:
    def free_batch(model: Any) -> None:
        model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].shapeSignature = [-1, 96, 96, 3]

    found = check.coverage(changed(integer_model, free_batch))
    assert "'images' has the shape [-1, 96, 96, 3], every size must be fixed" in found.misfits


def test_a_batch_is_refused(integer_model: bytes) -> None:
    def four(model: Any) -> None:
        tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
        tensor.shape = [4, *tensor.shape[1:]]

    found = check.coverage(changed(integer_model, four))
    assert "tensors of batch 4, only the three innermost sizes may exceed 1" in found.misfits


def test_a_fused_activation_is_refused_where_it_must_not_be(integer_model: bytes) -> None:
    def fuse(model: Any) -> None:
        first(
            model, "MAX_POOL_2D"
        ).builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU

    found = check.coverage(changed(integer_model, fuse))
    assert "MAX_POOL_2D: has a fused activation function, the edge TPU wants it apart" in found.misfits


def test_unequal_dilation_is_refused(integer_model: bytes) -> None:
    def stretch(model: Any) -> None:
        first(model, "CONV_2D").builtinOptions.dilationWFactor = 2

    found = check.coverage(changed(integer_model, stretch))
    assert "CONV_2D: dilation 1x2, both must be equal" in found.misfits


def test_slices_with_gaps_are_refused(integer_model: bytes) -> None:
    def slice_instead(model: Any) -> None:
        code, buffer, strides = schema.OperatorCodeT(), schema.BufferT(), schema.TensorT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.STRIDED_SLICE
        buffer.data = np.array([1, 2, 2, 1], np.int32).tobytes()
        strides.name, strides.shape, strides.type = "strides", [4], schema.TensorType.INT32
        strides.buffer = len(model.buffers)
        model.operatorCodes.append(code)
        model.buffers.append(buffer)
        model.subgraphs[0].tensors.append(strides)
        pool = first(model, "MAX_POOL_2D")
        pool.opcodeIndex = len(model.operatorCodes) - 1
        pool.builtinOptions, pool.builtinOptionsType = None, 0
        pool.inputs = [*pool.inputs, len(model.subgraphs[0].tensors) - 1]

    found = check.coverage(changed(integer_model, slice_instead))
    assert "STRIDED_SLICE: strides [1, 2], the edge TPU slices with stride 1 only" in found.misfits


def test_float_edges_are_refused(integer_model: bytes) -> None:
    """Full integer in the sense of other tools: float32 in and out, converted inside."""

    def float_output(model: Any) -> None:
        model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]].type = schema.TensorType.FLOAT32

    found = check.coverage(changed(integer_model, float_output))
    assert "tensors of FLOAT32, the edge TPU computes in int8 only" in found.misfits


def test_activations_too_large_for_the_chip(integer_model: bytes) -> None:
    """At 16 times the side, the stem's three maps of 8 channels need 14 MiB."""

    def enlarge(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            if len(tensor.shape) == 4 and not flatbuffer.is_constant(model, tensor):
                batch, height, width, channels = tensor.shape
                tensor.shape = [batch, 16 * height, 16 * width, channels]

    found = check.coverage(changed(integer_model, enlarge))
    (sentence,) = found.misfits
    assert "take a smaller --imgsz" in sentence
    assert found.activations > check.SRAM


def test_large_parameters_cost_time_only(integer_model: bytes) -> None:
    def pad(model: Any) -> None:
        weights = max(model.buffers, key=lambda each: 0 if each.data is None else len(each.data))
        weights.data = bytes(9 * 2**20)

    found = check.coverage(changed(integer_model, pad))
    assert not found.misfits
    (note,) = found.notes
    assert "what does not fit is sent for every image" in note


def test_activations_are_counted_while_they_live(integer_model: bytes) -> None:
    """The first operator pads the image, 96 to 98; the stem's map, sigmoid and product are a little smaller."""
    image, padded, stem = 96 * 96 * 3, 98 * 98 * 3, 48 * 48 * 8
    assert image + padded > 3 * stem
    model = flatbuffer.read(integer_model)
    assert check.peak_activations(model) == image + padded
    model.subgraphs[0].operators[0].inputs[0] = (
        model.subgraphs[0].operators[0].outputs[0]
    )  # no image any more
    model.subgraphs[0].inputs = []
    assert check.peak_activations(model) == 3 * stem


def test_parameters_are_counted(integer_model: bytes, source: Any) -> None:
    values = {name: each.numel() for name, each in source.network.named_parameters()}
    expected = sum(count * (4 if name.endswith("bias") else 1) for name, count in values.items())
    assert expected <= check.parameter_bytes(flatbuffer.read(integer_model)) <= expected + 1024


@pytest.mark.parametrize("data", [b"", b"TFL3", b"not a network" * 9, b"\x1c\x00\x00\x00TFL3" + b"\xff" * 40])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(DamagedFileError, match=r"net\.tflite"):
        check.coverage(data, "net.tflite")


def test_half_a_file_is_refused(integer_model: bytes) -> None:
    with pytest.raises(DamagedFileError, match="not a whole TFLite flatbuffer"):
        check.coverage(integer_model[: len(integer_model) // 2], "net.tflite")
