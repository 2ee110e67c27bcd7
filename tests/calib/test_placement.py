"""Places of quantizers in the written graph, against the runtimes' rules and without reading ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from edgeyolo.artifact.artifact import Artifact  # noqa: E402
from edgeyolo.backend.interface import CalibrationSource  # noqa: E402
from edgeyolo_calib.onnx_graph import Graph  # noqa: E402
from edgeyolo_calib.quantize.qdq import quantize, settle  # noqa: E402
from edgeyolo_calib.quantize.rules import EDGE_TPU, ONNXRUNTIME, OPENVINO, TENSORRT, TFLITE, Rules, place  # noqa: E402
from edgeyolo_calib.ranges.histogram import Histogram  # noqa: E402
from edgeyolo_calib.ranges.observe import observe  # noqa: E402
from edgeyolo_calib.ranges.ranges import Scheme  # noqa: E402
from edgeyolo_calib.ranges.statistics import Statistics  # noqa: E402

EVERY = (ONNXRUNTIME, TENSORRT, OPENVINO)
each_rules = pytest.mark.parametrize("rules", EVERY, ids=lambda rules: rules.name)


class Written:
    """A graph with quantizers, as a reader sees it."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes = list(graph.node)
        self.outputs = {value.name for value in graph.output}
        self.values = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
        self.maker = {name: node for node in graph.node for name in node.output}

    def of(self, *kinds: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if node.op_type in kinds]

    def takers(self, name: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if name in node.input]

    def dequantizer(self, name: str) -> onnx.NodeProto | None:
        node = self.maker.get(name)
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    def grid(self, node: onnx.NodeProto) -> tuple[float, int]:
        """(scale, zero point) of a quantizer or dequantizer of a whole tensor."""
        return float(self.values[node.input[1]]), int(self.values[node.input[2]])

    def quantizers_behind(self, name: str) -> list[onnx.NodeProto]:
        return [node for node in self.takers(name) if node.op_type == "QuantizeLinear"]

    def for_float_only(self, name: str) -> bool:
        """Return True if all that is made of a tensor ends in float convolutions."""
        return all(
            not self.in_integers(taker) if taker.op_type == "Conv" else self.for_float_only(taker.output[0])
            for taker in self.takers(name)
        )

    def in_integers(self, conv: onnx.NodeProto) -> bool:
        return self.dequantizer(conv.input[1]) is not None


@pytest.fixture(scope="module")
def source(small_artifact: Path) -> onnx.ModelProto:
    return onnx.load(str(small_artifact / "model.onnx"))


@pytest.fixture(scope="module")
def statistics(small_artifact: Path, calibration: CalibrationSource) -> Statistics:
    return observe(small_artifact / "model.onnx", Artifact.open(small_artifact).manifest.input, calibration)


def write(source: onnx.ModelProto, statistics: Statistics, rules: Rules) -> Written:
    return Written(quantize(source, statistics, rules).model.graph)


@each_rules
def test_operators_that_only_move_values_share_one_scale(
    source: onnx.ModelProto, statistics: Statistics, rules: Rules
) -> None:
    written = write(source, statistics, rules)
    seen: dict[str, int] = {}
    for node in written.of("Concat", "MaxPool", "Resize"):
        tensors = node.input if node.op_type == "Concat" else node.input[:1]
        before = [written.dequantizer(name) for name in tensors]
        behind = written.quantizers_behind(node.output[0])
        if not any(before):
            continue  # between float layers
        assert all(before), node.name
        assert len({written.grid(each) for each in [*before, *behind]}) == 1, node.name  # type: ignore[arg-type]
        seen[node.op_type] = seen.get(node.op_type, 0) + bool(behind)
    assert seen["Concat"] >= 6
    assert seen["MaxPool"] >= 4
    assert seen["Resize"] == 2


@pytest.mark.parametrize("rules", [TENSORRT, OPENVINO], ids=lambda rules: rules.name)
def test_activation_functions_are_fused_before_anything_is_quantized(
    source: onnx.ModelProto, statistics: Statistics, rules: Rules
) -> None:
    written = write(source, statistics, rules)
    for node in written.of("Conv", "Sigmoid"):
        assert not written.quantizers_behind(node.output[0]), node.name
    products = [node for node in written.of("Mul") if written.quantizers_behind(node.output[0])]
    assert len(products) > 20


def test_onnx_runtime_has_a_quantizer_behind_every_operator_in_integers(
    source: onnx.ModelProto, statistics: Statistics
) -> None:
    """Its kernels take and give integers: an operator runs in them where Q stands behind it."""
    written = write(source, statistics, ONNXRUNTIME)
    quantized = 0
    for node in written.of("Conv", "Sigmoid", "Mul", "Concat", "MaxPool", "Resize"):
        behind = bool(written.quantizers_behind(node.output[0]))
        if node.op_type == "Conv":
            assert behind == written.in_integers(node), node.name
        elif not behind:
            from_float = written.dequantizer(node.input[0]) is None
            assert from_float or written.for_float_only(node.output[0]), node.name
        quantized += behind
    assert quantized > 80
    assert {node.output[0] for node in written.of("Conv")} >= written.outputs  # raw maps are not quantized


@each_rules
@pytest.mark.parametrize("heads", [False, True])
def test_heads_and_stem_stay_in_float_unless_asked(
    source: onnx.ModelProto, statistics: Statistics, rules: Rules, heads: bool
) -> None:
    written = write(source, statistics, replace(rules, heads=heads))
    convs = written.of("Conv")
    ends = [written.maker[name] for name in written.outputs]
    assert {node.op_type for node in ends} <= {"Conv", "DequantizeLinear"}
    if not heads:
        assert not any(node.op_type != "Conv" or written.in_integers(node) for node in ends)
    in_float = [node for node in convs if not written.in_integers(node)]
    assert len(in_float) == rules.stem + (0 if heads else 3)
    everywhere = write(source, statistics, replace(rules, heads=True, stem=0))
    assert all(everywhere.in_integers(node) for node in everywhere.of("Conv"))


@each_rules
def test_weights_are_symmetric_with_a_scale_for_each_output_channel(
    source: onnx.ModelProto, statistics: Statistics, rules: Rules
) -> None:
    written = write(source, statistics, rules)
    found = 0
    for conv in written.of("Conv"):
        node = written.dequantizer(conv.input[1])
        if node is None:
            continue
        scale, zero = written.values[node.input[1]], written.values[node.input[2]]
        stored = written.values[written.maker[node.input[0]].input[0] if rules.pairs else node.input[0]]
        assert scale.shape == zero.shape == (len(stored),)
        assert zero.dtype == np.int8
        assert not zero.any()
        assert next(item.i for item in node.attribute if item.name == "axis") == 0
        assert stored.dtype == (np.float32 if rules.pairs else np.int8)
        found += 1
    assert found > 20


def test_tensorrt_has_no_zero_point_and_no_quantized_bias(
    source: onnx.ModelProto, statistics: Statistics
) -> None:
    written = write(source, statistics, TENSORRT)
    for node in written.of("QuantizeLinear", "DequantizeLinear"):
        zero = written.values[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
    for conv in written.of("Conv"):
        assert written.values[conv.input[2]].dtype == np.float32


def test_onnx_runtime_has_unsigned_activations_and_biases_in_the_scale_of_the_sum(
    source: onnx.ModelProto, statistics: Statistics
) -> None:
    written = write(source, statistics, ONNXRUNTIME)
    for node in written.of("QuantizeLinear"):
        assert written.values[node.input[2]].dtype == np.uint8
    checked = 0
    for conv in written.of("Conv"):
        data, weight, bias = (written.dequantizer(name) for name in conv.input)
        if weight is None:
            assert bias is None
            continue
        assert data is not None and bias is not None
        scale, _ = written.grid(data)
        assert written.values[bias.input[0]].dtype == np.int32
        np.testing.assert_allclose(
            written.values[bias.input[1]], scale * written.values[weight.input[1]], rtol=1e-6
        )
        checked += 1
    assert checked > 20


@pytest.mark.parametrize("rules", [TFLITE, EDGE_TPU], ids=lambda rules: rules.name)
def test_a_sigmoid_of_litert_has_the_steps_of_its_kernels(
    source: onnx.ModelProto, statistics: Statistics, rules: Rules
) -> None:
    graph = Graph(source)
    placement = place(graph, rules)
    ranges = settle(placement, statistics, rules, Scheme("minmax"))
    sigmoids = [node.output[0] for node in graph.nodes if node.op_type == "Sigmoid"]
    found = {rules.grid.place(*ranges[name]) for name in sigmoids if name in ranges}
    assert found == {(np.float32(1 / 256), 0)}


@pytest.mark.parametrize(("rules", "cut"), [(TFLITE, False), (EDGE_TPU, True)], ids=["tflite", "edge TPU"])
def test_only_maps_of_the_edge_tpu_are_integers_and_end_where_a_sigmoid_is_flat(
    source: onnx.ModelProto, statistics: Statistics, rules: Rules, cut: bool
) -> None:
    graph = Graph(source)
    wide = Histogram()
    wide.add(np.linspace(-40, 3, 1000, dtype=np.float32))
    far = replace(statistics, tensors=dict.fromkeys(statistics.tensors, wide))
    ranges = settle(place(graph, rules), far, rules, Scheme("minmax"))
    lows = {name for name, (low, _) in ranges.items() if low == -6.0}
    assert lows == (set(graph.outputs) if cut else set())
    assert set(graph.outputs) <= ranges.keys() if cut else not set(graph.outputs) & ranges.keys()
    assert all(ranges[name][1] == pytest.approx(3) for name in lows)
