"""Integer models: integers throughout, ranges as given, close to the float model, the same bytes every time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeyolo.backend.profile import MAP_REACH
from edgeyolo.errors import EdgeYoloError, UnsupportedTargetError, UsageError
from edgeyolo.export.layer_report import tensors_of
from edgeyolo.export.source import NetworkSource

pytest.importorskip("ai_edge_quantizer", reason="needs the tflite extra")
pytest.importorskip("onnx", reason="needs the tflite extra")

from edgeyolo_calib.onnx_graph import OPSET, Graph, constants_as_weights
from edgeyolo_calib.quantize.rules import Unit, units
from edgeyolo_tflite import flatbuffer
from edgeyolo_tflite.layers import float_tensors, onnx_names
from edgeyolo_tflite.quantize import (
    calibrate,
    quantize,
    share_ranges,
    skeleton,
    with_ranges,
)
from edgeyolo_tflite.reach import flat_below, within_reach


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
    outputs = {name for name, (low, _) in cut.items() if low == -MAP_REACH}
    assert outputs == {"p3", "p4", "p5"}
    assert {cut[name] for name in outputs} == {(-MAP_REACH, 3.0)}
    assert set(narrow.values()) == {(-2.0, 3.0)}
    assert 1 - 1 / (1 + np.exp(-MAP_REACH)) < 0.0025


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


@pytest.fixture(scope="module")
def exported(source: NetworkSource) -> Path:
    """The small network's ONNX file, whose tensors name layers."""
    return source.onnx(opset=OPSET)


@pytest.fixture(scope="module")
def graph(exported: Path) -> Graph:
    import onnx

    return Graph(constants_as_weights(onnx.load(exported)))


def inner(graph: Graph) -> Unit:
    """A layer in the middle of the network."""
    return [unit for unit in units(graph) if unit.activation][5]


def types_of(data: bytes, *operators: str) -> Counter[str]:
    """Outputs of the operators of these kinds."""
    model = flatbuffer.read(data)
    return Counter(
        flatbuffer.TYPES[flatbuffer.tensors(model, operator.outputs)[0].type]
        for kind, operator in flatbuffer.operators(model)
        if kind in operators
    )


def test_layers_are_found_by_their_weights(
    float_model: bytes, graph: Graph, calibration: list[np.ndarray]
) -> None:
    """The tensor that the ONNX file calls so: both hold the same values."""
    from ai_edge_litert.interpreter import Interpreter

    names = onnx_names(flatbuffer.read(float_model), graph)
    convolutions = sum(node.op_type == "Conv" for node in graph.nodes)
    assert len(set(names.values())) == len(names) > 2 * convolutions
    interpreter = Interpreter(model_content=float_model, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], calibration[0])
    interpreter.invoke()
    details = [each for each in interpreter.get_tensor_details() if each["name"] in names]
    found = {each["name"]: interpreter.get_tensor(each["index"]) for each in details}
    given = {graph.inputs[0]: calibration[0].transpose(0, 3, 1, 2)}
    wanted = tensors_of(graph.model, given, set(names.values()))
    assert found.keys() == names.keys()
    for tensor, values in found.items():
        want = wanted[names[tensor]]
        assert np.abs(values.transpose(0, 3, 1, 2) - want).max() < 1e-4 * np.abs(want).max(), tensor


def test_another_network_has_no_such_layers(leaky_model: bytes, graph: Graph) -> None:
    changed = flatbuffer.read(leaky_model)
    buffer = next(
        changed.buffers[flatbuffer.tensors(changed, operator.inputs)[1].buffer]
        for kind, operator in flatbuffer.operators(changed)
        if kind == "CONV_2D"
    )
    buffer.data = (2 * np.frombuffer(bytes(buffer.data), np.float32)).tobytes()
    with pytest.raises(EdgeYoloError, match="no convolution of the ONNX file has these weights"):
        onnx_names(changed, graph)


def test_the_last_convolutions_stay_in_float(
    float_model: bytes, integer_model: bytes, exported: Path, graph: Graph, calibration: list[np.ndarray]
) -> None:
    """Maps keep their names and have one type, and come nearer to the float model's."""
    data = quantize(float_model, calibration, float_tensors(flatbuffer.read(float_model), exported, ()))
    heads = len(graph.outputs)
    assert types_of(data, "CONV_2D") == {
        "FLOAT32": heads,
        "INT8": kinds(float_model)["CONV_2D"] - heads,
    }
    assert kinds(data)["DEQUANTIZE"] == heads
    assert not kinds(data)["QUANTIZE"]
    model = flatbuffer.read(data)
    outputs = flatbuffer.tensors(model, model.subgraphs[0].outputs)
    assert [flatbuffer.name(each) for each in outputs] == list(graph.outputs)
    assert {flatbuffer.TYPES[each.type] for each in outputs} == {"FLOAT32"}
    expected, found, before = (run(each, calibration[0]) for each in (float_model, data, integer_model))
    for name, want in expected.items():
        assert (found[name] - want).std() < 0.95 * (before[name] - want).std()


def test_chosen_layers_stay_in_float_between_conversions(
    float_model: bytes, exported: Path, graph: Graph, calibration: list[np.ndarray]
) -> None:
    tree = flatbuffer.read(float_model)
    without = quantize(float_model, calibration, float_tensors(tree, exported, ()))
    data = quantize(float_model, calibration, float_tensors(tree, exported, [inner(graph).output]))
    for kind in ("CONV_2D", "LOGISTIC", "MUL"):
        more = types_of(data, kind)["FLOAT32"] - types_of(without, kind)["FLOAT32"]
        assert more == 1, kind
    assert kinds(data) - kinds(without) == {"QUANTIZE": 1, "DEQUANTIZE": 1}
    run(data, calibration[0])


def test_one_map_in_float_makes_all_of_them_float(
    float_model: bytes, integer_model: bytes, calibration: list[np.ndarray]
) -> None:
    """A manifest states one type for all maps."""
    data = quantize(float_model, calibration, ["p4"])
    model = flatbuffer.read(data)
    outputs = flatbuffer.tensors(model, model.subgraphs[0].outputs)
    assert [(flatbuffer.name(each), flatbuffer.TYPES[each.type]) for each in outputs] == [
        (name, "FLOAT32") for name in ("p3", "p4", "p5")
    ]
    assert len({flatbuffer.name(each) for each in model.subgraphs[0].tensors}) == len(
        model.subgraphs[0].tensors
    )
    found, before = run(data, calibration[0]), run(integer_model, calibration[0])
    assert np.abs(found["p3"] - before["p3"]).max() < 1e-5
    assert not np.allclose(found["p4"], before["p4"])


def test_what_only_float_layers_take_is_float_too(float_model: bytes, exported: Path, graph: Graph) -> None:
    """As in the ONNX graph by the same rules: else integers would be made to be unmade at once."""
    tree = flatbuffer.read(float_model)
    left = float_tensors(tree, exported, [unit.output for unit in units(graph)])
    assert left == flatbuffer.activations(tree) - {"images"}
    assert kinds(with_ranges(float_model, {}, left)) == kinds(float_model) + Counter({"DEQUANTIZE": 1})
    with pytest.raises(UnsupportedTargetError, match="nowhere should stay in float"):
        float_tensors(tree, exported, ["nowhere"])
