"""Quantizers in the way of fused kernels, found in the graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch", reason="needs the export extra")

from edgeyolo.artifact.contracts import InputContract, RawMaps  # noqa: E402
from edgeyolo.export.source import NetworkSource  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.scaling import scale_width  # noqa: E402
from edgeyolo.models.specs import get  # noqa: E402
from edgeyolo_calib.onnx_graph import Graph, constants_as_weights  # noqa: E402
from edgeyolo_calib.quantize.qdq import assemble  # noqa: E402
from edgeyolo_calib.quantize.rules import NAIVE_TENSORRT, TENSORRT, Rules, place  # noqa: E402
from edgeyolo_calib.ranges.ranges import Scheme  # noqa: E402
from edgeyolo_calib.ranges.statistics import Origin  # noqa: E402
from edgeyolo_tensorrt.package.fusions import broken_fusions  # noqa: E402
from edgeyolo_tensorrt.package.typed import to_typed  # noqa: E402


@cache
def network(name: str) -> onnx.ModelProto:
    """A network of its full structure, an eighth as wide."""
    spec = scale_width(get(name), 1 / 8)
    names = tuple(f"p{level}" for level in range(3, 3 + len(spec.strides)))
    raw = RawMaps(names, spec.strides, spec.anchors, 3)
    with TemporaryDirectory() as folder:
        plain = build(spec, 3, form="plain").eval()
        source = NetworkSource(plain, InputContract(128, 128), raw, ("a", "b", "c"), Path(folder))
        return constants_as_weights(onnx.load(source.onnx(opset=17)))


def quantized(name: str, rules: Rules) -> onnx.ModelProto:
    """Quantizers as the rules place them, each group of tensors with a scale of its own."""
    graph = Graph(network(name))
    placement = place(graph, rules)
    groups = sorted(set(placement.tensors.values()))
    ranges = {item: (0.0, 1.0 + groups.index(group)) for item, group in placement.tensors.items()}
    origin = Origin("", "", 1, "", (128, 128))
    return assemble(graph, placement, ranges, rules, Scheme("minmax"), origin=origin).model


@pytest.mark.parametrize("name", ["yolov7-tiny", "yolov7-tiny-silu", "yolov7", "yolov7-w6"])
def test_our_quantizers_break_no_fusion(name: str) -> None:
    model = quantized(name, TENSORRT)
    assert sum(node.op_type == "DequantizeLinear" for node in model.graph.node) > 100
    assert broken_fusions(model) == []
    assert broken_fusions(constants_as_weights(to_typed(model))) == []


def test_a_quantizer_behind_every_operator_breaks_most() -> None:
    found = broken_fusions(quantized("yolov7-tiny", NAIVE_TENSORRT))
    between = [each for each in found if "between a convolution and its activation" in each]
    convolutions = sum(node.op_type == "LeakyRelu" for node in network("yolov7-tiny").graph.node)
    assert len(between) == convolutions
    assert any("Concat between different scales" in each for each in found)


def of(model: onnx.ModelProto, kind: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == kind]


def without_weights_quantizers(model: onnx.ModelProto) -> None:
    conv = next(node for node in of(model, "Conv") if node.input[1] not in weights(model))
    makers = {node.output[0]: node for node in model.graph.node}
    conv.input[1] = makers[makers[conv.input[1]].input[0]].input[0]


def without_pixels_quantizers(model: onnx.ModelProto) -> None:
    conv = next(node for node in of(model, "Conv") if node.input[1] not in weights(model))
    makers = {node.output[0]: node for node in model.graph.node}
    conv.input[0] = makers[makers[conv.input[0]].input[0]].input[0]


def with_another_scale_in_a_concat(model: onnx.ModelProto) -> None:
    makers = {node.output[0]: node for node in model.graph.node}
    concat = next(node for node in of(model, "Concat") if makers[node.input[0]].op_type == "DequantizeLinear")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(9.5, np.float32), "other"))
    restore = makers[concat.input[0]]
    restore.input[1] = makers[restore.input[0]].input[1] = "other"


def with_quantizers_that_nothing_takes(model: onnx.ModelProto) -> None:
    scale, zero = of(model, "QuantizeLinear")[0].input[1:]
    given = model.graph.node[-1].input[0]
    helper = onnx.helper.make_node
    model.graph.node.extend(
        [
            helper("QuantizeLinear", [given, scale, zero], ["idle_q"], "idle_q"),
            helper("DequantizeLinear", ["idle_q", scale, zero], ["idle_d"], "idle_d"),
            helper("Sigmoid", ["idle_d"], ["idle"], "idle"),
        ]
    )


def weights(model: onnx.ModelProto) -> set[str]:
    return {item.name for item in model.graph.initializer}


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (without_weights_quantizers, "only the pixels are quantized"),
        (without_pixels_quantizers, "only the weights are quantized"),
        (with_another_scale_in_a_concat, "Concat between different scales"),
        (with_quantizers_that_nothing_takes, "quantizers in front of Sigmoid"),
    ],
)
def test_each_kind_is_found(spoil: Callable[[onnx.ModelProto], None], sentence: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(quantized("yolov7-tiny", TENSORRT))
    spoil(model)
    assert any(sentence in each for each in broken_fusions(model))
