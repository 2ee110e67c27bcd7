"""Weights stored in float16: what runs is the float32 graph with rounded weights, without a node more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

import onnxruntime as ort  # noqa: E402

from edgeyolo.errors import UnsupportedTargetError  # noqa: E402
from edgeyolo.export.halves import with_halves  # noqa: E402


def write_convolution(path: Path, weight: np.ndarray, bias: np.ndarray) -> None:
    """x -> Conv -> Sigmoid."""
    helper, dtype = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "weight", "bias"], ["y"]),
            helper.make_node("Sigmoid", ["y"], ["z"]),
        ],
        "convolution",
        [helper.make_tensor_value_info("x", dtype, [1, weight.shape[1], 8, 8])],
        [helper.make_tensor_value_info("z", dtype, [1, weight.shape[0], 6, 6])],
        [onnx.numpy_helper.from_array(weight, "weight"), onnx.numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(path))


def run(path: Path, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def store_halves(path: Path) -> None:
    onnx.save(with_halves(onnx.load(path)), path)


def optimized(path: Path) -> Counter[str]:
    """The operators that are left when ONNX Runtime has loaded the file."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".optimized.onnx"))
    options.log_severity_level = 3
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


def test_the_same_graph_with_rounded_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((16, 8, 3, 3)).astype(np.float32)
    bias = rng.standard_normal(16).astype(np.float32)
    x = rng.standard_normal((1, 8, 8, 8)).astype(np.float32)
    rounded, half = tmp_path / "rounded.onnx", tmp_path / "half.onnx"
    write_convolution(rounded, weight.astype(np.float16).astype(np.float32), bias)
    write_convolution(half, weight, bias)
    before = half.stat().st_size
    store_halves(half)
    assert half.stat().st_size < 0.65 * before
    assert optimized(half) == optimized(rounded)
    np.testing.assert_array_equal(run(half, x), run(rounded, x))


def test_storing_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_convolution(path, np.ones((16, 8, 3, 3), np.float32), np.ones(16, np.float32))
    store_halves(path)
    once = path.read_bytes()
    store_halves(path)
    assert path.read_bytes() == once


def test_weights_out_of_range_are_refused(tmp_path: Path) -> None:
    weight = np.full((16, 8, 3, 3), 1e5, np.float32)
    write_convolution(tmp_path / "model.onnx", weight, np.ones(16, np.float32))
    with pytest.raises(UnsupportedTargetError, match="weight has values up to 1e\\+05"):
        store_halves(tmp_path / "model.onnx")
