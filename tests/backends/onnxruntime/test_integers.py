"""Sums of integers are not cut on processors that add them in 16 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeyolo.backend import ort_options
from edgeyolo.backend.ort_options import cpu_options
from edgeyolo_onnxruntime.session import load


@pytest.fixture
def convolution(tmp_path: Path) -> Path:
    """A 1x1 convolution of 64 strong channels with weights of either end, between quantizers."""
    weights = np.full((8, 64, 1, 1), 127, np.int8)
    weights[4:] = -127
    constants = {
        "scale": np.float32(1), "zero": np.uint8(0), "weights": weights, "weights_scale": np.float32(1 / 127),
        "weights_zero": np.int8(0), "sum_scale": np.float32(128), "sum_zero": np.uint8(128),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "scale", "zero"], ["integers"]),
        helper.make_node("DequantizeLinear", ["integers", "scale", "zero"], ["activations"]),
        helper.make_node("DequantizeLinear", ["weights", "weights_scale", "weights_zero"], ["floats"]),
        helper.make_node("Conv", ["activations", "floats"], ["sums"], kernel_shape=[1, 1]),
        helper.make_node("QuantizeLinear", ["sums", "sum_scale", "sum_zero"], ["sum_integers"]),
        helper.make_node("DequantizeLinear", ["sum_integers", "sum_scale", "sum_zero"], ["raw"]),
    ]
    graph = helper.make_graph(
        nodes, "convolution",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 64, 8, 8])],
        [helper.make_tensor_value_info("raw", TensorProto.FLOAT, [1, 8, 8, 8])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    path = tmp_path / "convolution.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_strong_activations_times_large_weights_are_not_cut(convolution: Path) -> None:
    """Two products of 255 and 127 do not fit into the 16 bits in which processors without VNNI add them."""
    (raw,) = load(convolution, 1).run(None, {"images": np.full((1, 64, 8, 8), 255, np.float32)})
    np.testing.assert_allclose(raw[0, :4], 64 * 255, atol=64)  # half a step of 128
    np.testing.assert_allclose(raw[0, 4:], -64 * 255, atol=64)


@pytest.mark.parametrize(
    ("instructions", "setting"), [(frozenset(), "1"), (None, "1"), (frozenset({"avx512_vnni"}), None)]
)
def test_sessions_ask_for_kernels_that_do_not_cut_where_others_would(
    instructions: frozenset[str] | None, setting: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With VNNI nothing is cut, and the setting takes most of what integers gain."""
    monkeypatch.setattr(ort_options, "integer_instructions", lambda: instructions)
    options = cpu_options()
    if setting is None:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry("session.x64quantprecision")
    else:
        assert options.get_session_config_entry("session.x64quantprecision") == setting
