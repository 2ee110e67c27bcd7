"""Integer models: integers throughout, ranges as given, close to the float model, the same bytes every time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeyolo.errors import UsageError

pytest.importorskip("ai_edge_quantizer", reason="needs the tflite extra")

from edgeyolo_tflite import flatbuffer
from edgeyolo_tflite.quantize import (
    calibrate,
    quantize,
    share_ranges,
    skeleton,
    with_ranges,
)
from edgeyolo_tflite.reach import REACH, flat_below, within_reach


def kinds(data: bytes) -> Counter[str]:
    return Counter(kind for kind, _ in flatbuffer.operators(flatbuffer.read(data)))


def scale_of(model: Any, name: str) -> tuple[float, int]:
    (tensor,) = [each for each in model.subgraphs[0].tensors if flatbuffer.name(each) == name]
    return float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])


def run(data: bytes, batch: np.ndarray) -> dict[str, np.ndarray]:
    """A float or integer model on float32 images, in the plain interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    if entry["dtype"] == np.int8:
        batch = (np.rint(batch * 255) - 128).astype(np.int8)
    interpreter.set_tensor(entry["index"], batch)
    interpreter.invoke()
    found = {}
    for item in interpreter.get_output_details():
        values, (scale, zero) = interpreter.get_tensor(item["index"]), item["quantization"]
        found[item["name"]] = (values.astype(np.float32) - zero) * scale if scale else values
    return found


def test_every_tensor_is_an_integer_and_no_operator_converts(
    float_model: bytes, integer_model: bytes
) -> None:
    model = flatbuffer.read(integer_model)
    types = {flatbuffer.TYPES[each.type] for each in model.subgraphs[0].tensors}
    assert types == {"INT8", "INT32"}
    assert kinds(integer_model) == kinds(float_model)  # neither QUANTIZE nor DEQUANTIZE was added


def test_pixels_are_quantized_exactly(integer_model: bytes) -> None:
    scale, zero = scale_of(flatbuffer.read(integer_model), "images")
    assert scale == pytest.approx(1 / 255, rel=1e-6)
    assert zero == -128


def test_it_stays_close_to_the_float_model(
    float_model: bytes, integer_model: bytes, calibration: list[np.ndarray]
) -> None:
    """The error of a map is a few of its own quantization steps."""
    for batch in calibration:
        expected, found = run(float_model, batch), run(integer_model, batch)
        for name, want in expected.items():
            scale, _ = scale_of(flatbuffer.read(integer_model), name)
            error = np.abs(found[name] - want)
            assert error.mean() < 2 * scale
            assert np.abs(want).max() / scale > 40  # the range is used: errors of 2 steps are small beside it


def test_leaky_relu_is_computed_in_integers(leaky_model: bytes, leaky_calibration: list[np.ndarray]) -> None:
    data = quantize(leaky_model, leaky_calibration)
    assert kinds(data) == kinds(leaky_model)
    model = flatbuffer.read(data)
    assert {flatbuffer.TYPES[each.type] for each in model.subgraphs[0].tensors} == {"INT8", "INT32"}
    (slope,) = {op.builtinOptions.alpha for kind, op in flatbuffer.operators(model) if kind == "LEAKY_RELU"}
    assert slope == pytest.approx(0.1)
    expected, found = run(leaky_model, leaky_calibration[0]), run(data, leaky_calibration[0])
    for name, want in expected.items():
        assert np.abs(found[name] - want).mean() < 2 * scale_of(model, name)[0]


def test_the_same_images_give_the_same_bytes_in_any_order(
    float_model: bytes, integer_model: bytes, calibration: list[np.ndarray]
) -> None:
    assert quantize(float_model, iter(calibration[::-1])) == integer_model


def test_ranges_cover_nine_images_of_ten(float_model: bytes, calibration: list[np.ndarray]) -> None:
    alone = [calibrate(float_model, [batch]) for batch in calibration]
    together = calibrate(float_model, calibration)
    for name, (low, high) in together.items():
        lows, highs = np.array([each[name] for each in alone]).T
        assert lows.min() <= low == pytest.approx(np.quantile(lows, 0.1))
        assert highs.max() >= high == pytest.approx(np.quantile(highs, 0.9))


def test_silu_inputs_are_clipped_at_its_flat_end(float_model: bytes) -> None:
    tree = flatbuffer.read(float_model)
    before = {
        flatbuffer.name(flatbuffer.tensors(tree, operator.inputs)[0])
        for kind, operator in flatbuffer.operators(tree)
        if kind == "LOGISTIC"
    }
    wide = dict.fromkeys(flatbuffer.activations(tree), (-30.0, 20.0))
    cut = within_reach(float_model, wide)
    bound = flat_below(50 / 255)
    assert before
    assert {name for name, (low, _) in cut.items() if low == bound} == before
    assert {high for name, (_, high) in cut.items() if name in before} == {20.0}


@given(st.floats(1e-6, 0.5))
def test_below_the_cut_a_quantizer_gives_zero(step: float) -> None:
    bound = flat_below(step)
    x = np.linspace(-40, bound, 2000)
    silu = x / (1 + np.exp(-x))
    if bound > -20:
        assert np.abs(silu).max() <= step / 2
        assert abs((bound + 0.01) / (1 + np.exp(-(bound + 0.01)))) > step / 2 or bound > -1.31


def test_ranges_are_what_the_model_computes(float_model: bytes, calibration: list[np.ndarray]) -> None:
    ranges = calibrate(float_model, calibration[:1])
    for name, values in run(float_model, calibration[0]).items():
        assert ranges[name] == pytest.approx((values.min(), values.max()), rel=1e-4)


def test_ranges_may_come_from_anywhere(float_model: bytes, calibration: list[np.ndarray]) -> None:
    ranges = calibrate(float_model, calibration)
    data = with_ranges(float_model, ranges | {"p3": (-10.0, 5.3)})
    assert scale_of(flatbuffer.read(data), "p3") == (pytest.approx(15.3 / 255, rel=1e-5), 39)


def test_raw_maps_are_cut_where_a_sigmoid_is_flat_and_nothing_else_is(float_model: bytes) -> None:
    names = flatbuffer.activations(flatbuffer.read(float_model))
    cut = within_reach(float_model, dict.fromkeys(names, (-40.0, 3.0)))
    narrow = within_reach(float_model, dict.fromkeys(names, (-2.0, 3.0)))
    outputs = {name for name, (low, _) in cut.items() if low == -REACH}
    assert outputs == {"p3", "p4", "p5"}
    assert {cut[name] for name in outputs} == {(-REACH, 3.0)}
    assert set(narrow.values()) == {(-2.0, 3.0)}
    assert 1 - 1 / (1 + np.exp(-REACH)) < 0.0025


def test_every_activation_needs_a_range(float_model: bytes, calibration: list[np.ndarray]) -> None:
    ranges = calibrate(float_model, calibration)
    del ranges["p4"]
    with pytest.raises(UsageError, match="1 activations have none, the first is 'p4'"):
        with_ranges(float_model, ranges)


def test_the_skeleton_has_the_final_structure(float_model: bytes, integer_model: bytes) -> None:
    def structure(data: bytes) -> list[tuple[str, list[int], list[int]]]:
        model = flatbuffer.read(data)
        return [(kind, list(each.inputs), list(each.outputs)) for kind, each in flatbuffer.operators(model)]

    assert structure(skeleton(float_model)) == structure(integer_model)


def test_branches_of_a_concatenation_share_one_scale(
    float_model: bytes, integer_model: bytes, calibration: list[np.ndarray]
) -> None:
    model = flatbuffer.read(integer_model)
    for kind, operator in flatbuffer.operators(model):
        if kind == "CONCATENATION":
            ends = flatbuffer.tensors(model, [*operator.inputs, *operator.outputs])
            assert len({(each.quantization.scale[0], each.quantization.zeroPoint[0]) for each in ends}) == 1
    own = calibrate(float_model, calibration)
    shared = share_ranges(flatbuffer.read(float_model), own)
    assert any(shared[name] != own[name] for name in own)
    assert all(
        shared[name][0] <= own[name][0] and own[name][1] <= shared[name][1]
        for name in own
        if name != "images"
    )


def test_versions_are_those_of_integer_operators(integer_model: bytes) -> None:
    model = flatbuffer.read(integer_model)
    found = {kind: model.operatorCodes[op.opcodeIndex].version for kind, op in flatbuffer.operators(model)}
    assert found == {
        "PAD": 2,
        "CONV_2D": 3,
        "LOGISTIC": 2,
        "MUL": 2,
        "CONCATENATION": 2,
        "MAX_POOL_2D": 2,
        "RESIZE_NEAREST_NEIGHBOR": 2,
    }


def test_names_and_description_survive(float_model: bytes, integer_model: bytes) -> None:
    def described(data: bytes) -> tuple[list[str], bytes]:
        model = flatbuffer.read(data)
        graph = model.subgraphs[0]
        (entry,) = [each for each in model.metadata if flatbuffer.name(each) == "edgeyolo"]
        ends = flatbuffer.tensors(model, [*graph.inputs, *graph.outputs])
        return [flatbuffer.name(each) for each in ends], bytes(model.buffers[entry.buffer].data)

    assert described(integer_model) == described(float_model)


def test_no_images_is_an_error(float_model: bytes) -> None:
    with pytest.raises(UsageError, match="at least one batch of images, got none"):
        quantize(float_model, [])


@pytest.mark.parametrize(
    ("factor", "dtype"), [(255.0, np.float32), (1.0, np.float64), (-1.0, np.float32), (np.nan, np.float32)]
)
def test_images_of_another_scale_are_refused(
    float_model: bytes, calibration: list[np.ndarray], factor: float, dtype: type
) -> None:
    """Ranges from pixels in 0..255 would be wrong by that factor in every layer, and nothing would fail."""
    with pytest.raises(UsageError, match=r"expected float32 images in 0\.\.1"):
        quantize(float_model, [(calibration[0] * factor).astype(dtype)])
