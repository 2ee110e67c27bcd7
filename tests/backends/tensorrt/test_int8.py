"""Integer packages: Q and DQ by TensorRT's rules, and the same scales as a calibration cache."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from edgeyolo.artifact.artifact import Artifact  # noqa: E402
from edgeyolo.backend.interface import CalibrationSource  # noqa: E402
from edgeyolo.errors import DamagedFileError  # noqa: E402
from edgeyolo.export import ExportOptions, export  # noqa: E402
from edgeyolo_tensorrt.package.int8 import CACHE, cache_text, read_cache  # noqa: E402
from edgeyolo_tensorrt.package.recipe import FILE, Recipe  # noqa: E402


@pytest.fixture(scope="module")
def artifact(
    small_weights: Path, calibration: CalibrationSource, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    place = tmp_path_factory.mktemp("int8") / "v100"
    return export(small_weights, "v100-trt-int8", place, ExportOptions(calibration=calibration))


@pytest.fixture(scope="module")
def graph(artifact: Artifact) -> onnx.GraphProto:
    return onnx.load(str(artifact.file("model.onnx"))).graph


def arrays(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    return {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}


def quantizers(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]


def test_every_quantizer_is_symmetric_int8(graph: onnx.GraphProto) -> None:
    values, found = arrays(graph), quantizers(graph)
    assert found
    for node in found:
        zero = values[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
        assert (values[node.input[1]] > 0).all()


def test_weights_have_a_scale_for_each_output_channel(graph: onnx.GraphProto) -> None:
    values = arrays(graph)
    makers = {node.output[0]: node for node in graph.node}
    per_channel = 0
    for node in graph.node:
        maker = makers.get(node.input[1]) if node.op_type == "Conv" else None
        if maker is not None and maker.op_type == "DequantizeLinear":
            weight = values[makers[maker.input[0]].input[0]]
            assert values[maker.input[1]].shape == (weight.shape[0],)
            per_channel += 1
    assert per_channel > 10


def test_branches_of_a_concat_share_one_scale(graph: onnx.GraphProto) -> None:
    values = arrays(graph)
    makers = {node.output[0]: node for node in graph.node}
    shared = 0
    for node in graph.node:
        taken = [makers.get(name) for name in node.input] if node.op_type == "Concat" else []
        scales = {
            float(values[each.input[1]]) for each in taken if each and each.op_type == "DequantizeLinear"
        }
        assert len(scales) <= 1
        shared += len(scales)
    assert shared >= 5


def test_raw_maps_come_from_float_convolutions(graph: onnx.GraphProto) -> None:
    makers = {node.output[0]: node for node in graph.node}
    for value in graph.output:
        node = makers[value.name]
        while node.op_type != "Conv":
            assert node.op_type not in ("QuantizeLinear", "DequantizeLinear")
            node = makers[node.input[0]]
        assert node.input[1] in arrays(graph)  # no quantizer between the weight and its convolution


def test_the_recipe_names_the_types_and_the_limit_of_volta(artifact: Artifact) -> None:
    recipe = Recipe.read(artifact.path / FILE)
    assert recipe.types == ("float16", "float32", "int8")  # what has no quantizers shall be float16
    assert recipe.tensorrt_below == "10.5"
    lines = json.loads((artifact.path / FILE).read_text())["trtexec"]
    assert recipe.broken_fusions == 0
    assert "--onnx=model.onnx" in lines["8"]
    assert "--fp16 --int8" in lines["8"]
    for version in ("10", "11"):  # the graph says its types
        assert "--onnx=typed.onnx" in lines[version]
        assert "--int8" not in lines[version]
    assert "--stronglyTyped" in lines["10"]


def test_the_cache_has_the_scales_of_the_graph(artifact: Artifact, graph: onnx.GraphProto) -> None:
    values, scales = arrays(graph), read_cache((artifact.path / CACHE).read_text())
    ranges = json.loads((artifact.path / "calibration.json").read_text())["tensors"]
    assert set(scales) == set(ranges)
    in_graph = {
        np.float32(values[node.input[1]]) for node in quantizers(graph) if not values[node.input[1]].shape
    }
    for name, scale in scales.items():
        assert scale == pytest.approx(ranges[name]["scale"], rel=1e-6)
        assert any(np.isclose(scale, each, rtol=1e-6) for each in in_graph)


def test_a_cache_is_names_and_bits_of_scales() -> None:
    text = cache_text({"images": (0.0, 1.0), "node_cat": (-2.54, 1.0)})
    assert text.splitlines() == [
        "TRT-8601-EntropyCalibration2",
        "images: " + struct.pack(">f", 1 / 127).hex(),
        "node_cat: " + struct.pack(">f", 0.02).hex(),
    ]
    assert read_cache(text) == {"images": np.float32(1 / 127), "node_cat": np.float32(0.02)}


@pytest.mark.parametrize("text", ["", "images: 3c010204", "TRT-8601-EntropyCalibration2\nimages: xyz"])
def test_malformed_calibration_caches_are_refused(text: str) -> None:
    with pytest.raises(DamagedFileError, match="cache"):
        read_cache(text)


def test_a_name_that_the_format_cannot_hold_is_refused() -> None:
    with pytest.raises(DamagedFileError, match="cannot hold"):
        cache_text({"a:b": (0.0, 1.0)})
