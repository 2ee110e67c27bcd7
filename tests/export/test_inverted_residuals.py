"""Depthwise convolutions, linear ones and ReLU6 on every family of targets, in integers too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the export extra")

import onnx  # noqa: E402

from edgeyolo.artifact.contracts import InputContract, RawMaps  # noqa: E402
from edgeyolo.backend import registry  # noqa: E402
from edgeyolo.backend.interface import CalibrationSource  # noqa: E402
from edgeyolo.export import ExportOptions, export  # noqa: E402
from edgeyolo.export.source import NetworkSource  # noqa: E402
from edgeyolo.export.trace import trace  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.reparameterize import reparameterize  # noqa: E402
from edgeyolo.models.specs import find  # noqa: E402
from edgeyolo.models.weights import load  # noqa: E402
from edgeyolo_bench.measure.random_weights import save_random  # noqa: E402
from edgeyolo_calib.onnx_graph import Graph  # noqa: E402
from edgeyolo_calib.qat.simulated import Simulated  # noqa: E402
from edgeyolo_calib.quantize.rules import units  # noqa: E402

from ..narrow import NARROW  # noqa: E402

FLOATS = (
    "cpu-onnx-fp32",
    "cpu-openvino-fp32",
    "cpu-tflite-fp32",
    "cpu-ncnn-fp32",
    "jetson-trt-fp16",
    "ane-coreml-fp16",
)
INTEGERS = (
    "cpu-onnx-int8", "cpu-openvino-int8", "cpu-tflite-int8", "cpu-ncnn-int8", "jetson-trt-int8",
    "ane-coreml-int8", "hexagon-qnn-int8",
)  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lite") / "narrow.safetensors"
    save_random(path, NARROW, classes=3)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("target", FLOATS + INTEGERS)
def test_it_exports_within_its_budget(
    target: str, weights: Path, calibration: CalibrationSource, tmp_path: Path
) -> None:
    _, backend = registry.find_target(target)
    if not backend.can_compile().ok:
        pytest.skip(backend.can_compile().reason)
    options = ExportOptions(size=(96, 96), calibration=calibration, unjudged=True)
    artifact = export(weights, target, tmp_path / target, options)
    assert artifact.manifest.parity is not None
    assert artifact.manifest.parity.holds


def test_ncnn_gets_one_scale_a_group(weights: Path, calibration: CalibrationSource, tmp_path: Path) -> None:
    """With one a channel, as other convolutions have them, ncnn reads what follows as weights."""
    pytest.importorskip("ncnn", reason="needs the ncnn extra")
    options = ExportOptions(size=(96, 96), calibration=calibration, unjudged=True)
    made = export(weights, "cpu-ncnn-int8", tmp_path / "made", options)
    lines = (made.path / "model.ncnn.param").read_text(encoding="utf-8").splitlines()
    depthwise = [line for line in lines if line.startswith("ConvolutionDepthWise ") and " 8=" in line]
    assert depthwise
    assert all(" 8=1" in line for line in depthwise)
    assert made.manifest.parity is not None
    assert made.manifest.parity.worst < 0.3


def test_openvino_leaves_a_depthwise_layer_in_float(weights: Path, tmp_path: Path) -> None:
    """Its convolutions in groups are operators of another kind, and their weights are reshaped."""
    ov = pytest.importorskip("openvino")
    from edgeyolo_openvino.quantize import float_layers, layers_of

    made = export(weights, "cpu-onnx-fp32", tmp_path / "made", ExportOptions(size=(96, 96), unjudged=True))
    model = ov.Core().read_model(made.path / "model.onnx")
    kinds = {node.get_friendly_name(): node.get_type_name() for node in model.get_ordered_ops()}
    for named in (
        layers_of(model, ["backbone.0.0.depthwise"]),
        float_layers(model, [units(Graph(onnx.load(made.path / "model.onnx")))[1].output]),
    ):
        found = [name for name in named if kinds[name] in {"Convolution", "GroupConvolution"}]
        assert [kinds[name] for name in found] == ["GroupConvolution"]
        assert found[0].startswith("backbone.0.0.depthwise")


def test_relu6_is_a_clip() -> None:
    network = build(find("efficientnet-lite0-pan"), 3, "plain", device="meta")
    counts = trace(network, InputContract(64, 64)).counts()
    linear = 16 + 3  # projections and outputs
    assert counts["Clip"] == counts["Conv"] - linear
    assert counts["Relu"] == 0


def test_a_clip_belongs_to_its_convolution(weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    made = export(weights, "cpu-onnx-fp32", tmp_path / "made", ExportOptions(size=(96, 96), unjudged=True))
    found = units(Graph(onnx.load(made.path / "model.onnx")))
    clipped = [unit for unit in found if unit.limits is not None]
    assert {unit.limits for unit in clipped} == {(0.0, 6.0)}
    assert len(found) - len(clipped) == 5 + 2  # projections and outputs
    function = clipped[0].function()
    assert function is not None
    assert function(np.array([-1.0, 3.0, 7.0], np.float32)).tolist() == [0.0, 3.0, 6.0]


class Unrounded(torch.nn.Module):
    """Quantizers that leave all as it is."""

    nodes: frozenset[str] = frozenset()

    def quantize(self, name: str, values: torch.Tensor) -> torch.Tensor:
        return values


def test_training_in_integers_computes_the_network(weights: Path, tmp_path: Path) -> None:
    """Groups and limits reach its operators: without roundings the maps are torch's."""
    network = reparameterize(load(weights).network).network
    spec = network.spec
    contract, output = InputContract(64, 64), RawMaps(("p2", "p3"), spec.strides, spec.anchors, 3)
    source = NetworkSource(network, contract, output, ("a", "b", "c"), tmp_path)
    graph = Graph(onnx.load(source.onnx(opset=18)))
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = Simulated(network, graph, [Unrounded()]).eval()(images)  # type: ignore[list-item]
        for one, other in zip(found, network(images), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
