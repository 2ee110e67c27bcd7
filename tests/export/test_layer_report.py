"""A missed gate names the layer at which the artifact parts from torch, and leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the export extra")

import onnx
from onnx import numpy_helper

from edgeyolo.backend import registry
from edgeyolo.errors import GateError
from edgeyolo.export import ExportOptions, export
from edgeyolo.export.layer_report import Layer, compare_layers, table, that_fit


def break_convolution(model: onnx.ModelProto, number: int) -> str:
    """Spoil the weights of one convolution; returns the tensor it makes."""
    node = [each for each in model.graph.node if each.op_type == "Conv"][number]
    for tensor in model.graph.initializer:
        if tensor.name == node.input[1]:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * -100, tensor.name))
            return str(node.output[0])
    raise AssertionError("the convolution has no weights")


def sabotaged(monkeypatch: pytest.MonkeyPatch, target: str, number: int) -> Callable[[], str]:
    """Let the target's backend compile a network with one wrong convolution; gives the name of that layer."""
    _, backend = registry.find_target(target)
    compile_rightly, broken = type(backend).compile, []

    def compile_wrongly(self: Any, source: Any, target: Any, into: Path) -> Any:
        class Wrong:
            def __getattr__(self, name: str) -> Any:
                return getattr(source, name)

            def onnx(self, *, opset: int) -> Path:
                model = onnx.load(source.onnx(opset=opset))
                broken.append(break_convolution(model, number))
                path = source.workspace / "wrong.onnx"
                path.write_bytes(model.SerializeToString())
                return path

        return compile_rightly(self, Wrong(), target, into)

    monkeypatch.setattr(type(backend), "compile", compile_wrongly)
    return lambda: broken[-1]


@pytest.mark.parametrize("target", ["cpu-onnx-fp32", "cpu-openvino-fp32", "jetson-trt-fp16"])
def test_the_layer_that_was_sabotaged_is_named(
    target: str, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    available = registry.find_target(target)[1].can_compile()
    if not available.ok:
        pytest.skip(available.reason)
    layer = sabotaged(
        monkeypatch, target, number=-2
    )  # before an output: random weights fade what comes earlier
    with pytest.raises(GateError) as caught:
        export(small_weights, target, tmp_path / "made", ExportOptions(size=(64, 64)))
    assert caught.value.exit_code == 4
    assert f"first layer beyond it: {layer()} (Conv, " in caught.value.message
    assert "worst of " in caught.value.message
    assert not list(tmp_path.iterdir())


def test_an_honest_artifact_is_not_looked_into(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeyolo.export import layer_report as layers

    monkeypatch.setattr(layers, "tensors_of", lambda *_: pytest.fail("looked into"))
    export(small_weights, "cpu-onnx-fp32", tmp_path / "made", ExportOptions(size=(64, 64)))


def test_layers_are_compared_in_order_and_by_their_own_scale() -> None:
    nodes = [onnx.helper.make_node("Conv", ["x"], ["a"]), onnx.helper.make_node("Relu", ["a"], ["b"])]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], []))
    want = {"a": np.array([1.0, -4.0]), "b": np.array([1.0, 0.0])}
    have = {"a": np.array([1.0, -3.0]), "b": np.array([np.nan, 0.0]), "unknown": np.zeros(1)}
    found = compare_layers(model, want, have)
    assert found == [Layer("a", "Conv", 0.25), Layer("b", "Relu", float("inf"))]
    told = table(found, tolerance=0.3)
    assert told.startswith("first layer beyond it: b (Relu, inf)\nworst of 2 layers:\n  b")
    assert table([], 0.1) == ""
    assert "first layer" not in table(found[:1], 0.3)


def test_layer_report_is_bounded_and_ends_with_the_outputs() -> None:
    info = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"], name=f"n{i}") for i in range(100)]
    ends = (info("t0", onnx.TensorProto.FLOAT, [1, 250]), info("t100", onnx.TensorProto.FLOAT, [1, 250]))
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [ends[0]], [ends[1]]))
    assert len(that_fit(model, 100_000)) == 100
    few = that_fit(model, 10_000)
    assert 5 <= len(few) <= 10
    assert few[-1] == "t100"
    assert that_fit(model, 1) == ("t100",)
