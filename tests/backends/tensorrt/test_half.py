"""The same graph in float16."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.errors import UnsupportedTargetError
from edgeyolo_calib.onnx_graph import constants_as_weights
from edgeyolo_tensorrt.package.half import HALF_OPERATORS, LARGEST, to_half
from edgeyolo_tensorrt.run.stand_in import with_roundings


def tensor(name: str, values: object) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def make_graph(
    nodes: list[onnx.NodeProto], weights: list[TensorProto], shape: tuple[int, ...]
) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("images", TensorProto.FLOAT, [1, 3, 8, 8])],
        [value("p3", TensorProto.FLOAT, shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def small(scale: float = 1.0) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["images", "w", "b"], ["c"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c"], ["s"], "sigmoid"),
        helper.make_node("Mul", ["c", "s"], ["m"], "mul"),
        helper.make_node("Resize", ["m", "", "scales"], ["r"], "up", mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric"),
        helper.make_node("Mul", ["r", "scales"], ["p3"], "reuse"),  # the scales as data too
    ]  # fmt: skip
    nodes[-1] = helper.make_node("Mul", ["r", "gain"], ["p3"], "gain")
    weights = [tensor("w", rng.normal(size=(4, 3, 3, 3)) * scale), tensor("b", rng.normal(size=4)),
               tensor("scales", [1, 1, 2, 2]), tensor("gain", [2.0])]  # fmt: skip
    return make_graph(nodes, weights, (1, 4, 16, 16))


def run(model: onnx.ModelProto, batch: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": batch})[0]


def test_weights_become_float16_and_borders_stay_float32() -> None:
    half = to_half(small())
    kinds = {item.name: item.data_type for item in half.graph.initializer}
    assert kinds == {
        "w": TensorProto.FLOAT16,
        "b": TensorProto.FLOAT16,
        "gain": TensorProto.FLOAT16,
        "scales": TensorProto.FLOAT,
    }
    (given,), (made,) = half.graph.input, half.graph.output
    assert (given.name, given.type.tensor_type.elem_type) == ("images", TensorProto.FLOAT)
    assert (made.name, made.type.tensor_type.elem_type) == ("p3", TensorProto.FLOAT)
    assert [node.op_type for node in half.graph.node] == [
        "Cast",
        "Conv",
        "Sigmoid",
        "Mul",
        "Resize",
        "Mul",
        "Cast",
    ]


def test_everything_between_the_borders_is_float16() -> None:
    half = onnx.shape_inference.infer_shapes(to_half(small()), strict_mode=True)
    inside = {value.name: value.type.tensor_type.elem_type for value in half.graph.value_info}
    assert len(inside) == 6
    assert set(inside.values()) == {TensorProto.FLOAT16}


def test_the_given_model_is_left_alone() -> None:
    model = small()
    before = model.SerializeToString(deterministic=True)
    assert to_half(model).SerializeToString(deterministic=True) == to_half(model).SerializeToString(
        deterministic=True
    )
    assert model.SerializeToString(deterministic=True) == before


def test_the_stand_in_rounds_every_result_to_float16() -> None:
    """ONNX Runtime neither skips the roundings nor adds any: it can stand in for a GPU in the parity gate."""
    torch = pytest.importorskip("torch")
    model, batch = small(), np.random.default_rng(1).random((1, 3, 8, 8), np.float32)
    weights = {
        item.name: torch.from_numpy(numpy_helper.to_array(item).copy()).half().float()
        for item in model.graph.initializer
    }

    def r(values: object) -> object:
        return values.half().float()  # type: ignore[attr-defined]

    conv = r(torch.nn.functional.conv2d(r(torch.from_numpy(batch)), weights["w"], weights["b"], padding=1))
    gated = r(conv * r(conv.sigmoid()))
    expected = r(torch.nn.functional.interpolate(gated, scale_factor=2, mode="nearest") * 2.0).numpy()
    exact, half = run(model, batch), run(with_roundings(to_half(model)), batch)
    unit = 2.0**-10 * np.abs(
        expected
    )  # of the last place: a sum taken in another order may round the other way
    assert (np.abs(half - expected) <= 1.01 * unit + 1e-7).all()
    assert (half == expected).mean() > 0.98
    assert (half == exact).mean() < 0.02


def test_the_stand_in_overflows_where_float16_does() -> None:
    model = small(scale=3000.0)
    model.graph.node[-2].input[0] = "c"  # the map itself, without its gate
    batch = np.full((1, 3, 8, 8), 1.0, np.float32)
    assert np.isfinite(run(model, batch)).all()
    assert not np.isfinite(run(with_roundings(to_half(model)), batch * 10)).all()


def test_a_float32_graph_stands_for_itself() -> None:
    model = small()
    assert with_roundings(model) == model


def test_scales_that_are_data_too_get_a_copy() -> None:
    model = small()
    model.graph.node[-1].input[1] = "shared"
    model.graph.node[-2].input[2] = "shared"
    model.graph.initializer.append(tensor("shared", [1, 1, 2, 2]))
    model.graph.node.insert(
        len(model.graph.node) - 1, helper.make_node("Reshape", ["shared", "shape"], ["column"], "column")
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 4, 1, 1], np.int64), "shape"))
    model.graph.node[-1].input[1] = "column"
    half = to_half(model)
    kinds = {item.name: item.data_type for item in half.graph.initializer}
    assert (kinds["shared"], kinds["shared_half"]) == (TensorProto.FLOAT, TensorProto.FLOAT16)
    assert kinds["shape"] == TensorProto.INT64
    batch = np.ones((1, 3, 8, 8), np.float32)
    np.testing.assert_allclose(run(half, batch), run(model, batch), rtol=1e-2, atol=1e-2)


def test_a_weight_that_float16_cannot_hold_is_named() -> None:
    with pytest.raises(UnsupportedTargetError, match=r"weight w holds 1\.\d+e\+05; float16 reaches 65504"):
        to_half(small(scale=1e5 / 1.9))
    assert LARGEST == 65504.0


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_weight_that_is_no_number_is_refused(bad: float) -> None:
    model = small()
    values = numpy_helper.to_array(model.graph.initializer[0]).copy()
    values[0, 0, 0, 0] = bad
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "w"))
    with pytest.raises(UnsupportedTargetError, match="weight w"):
        to_half(model)


def test_an_operator_that_is_not_known_is_named() -> None:
    model = small()
    model.graph.node[1].op_type = "Erf"
    with pytest.raises(UnsupportedTargetError, match="the graph holds Erf"):
        to_half(model)


def test_constants_become_weights() -> None:
    model = small()
    scales = model.graph.initializer.pop(2)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["scales"], value=scales))
    with pytest.raises(UnsupportedTargetError, match="Constant"):
        to_half(model)
    plain = constants_as_weights(model)
    batch = np.ones((1, 3, 8, 8), np.float32)
    assert "Constant" not in {node.op_type for node in plain.graph.node}
    assert np.array_equal(run(plain, batch), run(model, batch))
    assert to_half(plain).graph.node[4].input[2] == "scales"


def test_a_whole_network_in_float16_gives_nearly_the_same(package: Callable[..., Artifact]) -> None:
    exact = onnx.load(package("jetson-trt-fp32").file(".onnx"))
    half = onnx.load(package("jetson-trt-fp16").file(".onnx"))
    assert {item.data_type for item in half.graph.initializer if item.dims} == {
        TensorProto.FLOAT16,
        TensorProto.FLOAT,
    }
    size = [sum(len(item.raw_data) for item in model.graph.initializer) for model in (half, exact)]
    assert 0.5 <= size[0] / size[1] < 0.51
    assert (half.ir_version, half.opset_import[0].version) == (8, 17)
    assert {item.key for item in half.metadata_props} >= {"strides", "anchors", "class_names"}


def test_every_operator_of_the_target_table_can_be_typed() -> None:
    from edgeyolo_tensorrt.package.limits import LAYERS, limits

    assert set(LAYERS) <= set(HALF_OPERATORS)
    assert limits("jetson", "fp16").largest == LARGEST
