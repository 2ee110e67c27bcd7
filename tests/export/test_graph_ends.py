"""Artifacts with suppression or preprocessing inside: exported, verified, run, judged, refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgeyolo import Detector
from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.artifact.contracts import GraphDetections, InputContract
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.cli import cli
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import EdgeYoloError, GateError, UnsupportedTargetError, UsageError
from edgeyolo.export import ExportOptions, export
from edgeyolo.export.graph_ends.uint8_input import with_pixels
from edgeyolo.runtime.agreement import Agreement, matched
from edgeyolo.runtime.postprocess import Boxes
from edgeyolo.runtime.postprocess_config import PostprocessConfig
from edgeyolo.runtime.preprocess import preprocess
from edgeyolo.runtime.verify import verify

onnx = pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("torch", reason="needs the export extra")

PICTURES = [make_scene(seed).image for seed in range(3)]
THRESHOLDS = PostprocessConfig(conf=0.1, iou=0.5, max_det=100)


@pytest.fixture(scope="module")
def graph_artifact(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ExportOptions(nms=THRESHOLDS, input="uint8")
    return export(small_weights, "cpu-onnx-fp32", tmp_path_factory.mktemp("edges") / "graph", options).path


@pytest.mark.parametrize(
    "target",
    [
        *("cpu-onnx-fp32", "cpu-onnx-int8", "cpu-openvino-fp32"),
        pytest.param("cpu-openvino-int8", marks=pytest.mark.slow),
    ],
)
def test_the_same_detections_from_the_graph_and_from_the_host(
    target: str, small_weights: Path, calibration: CalibrationSource, tmp_path: Path
) -> None:
    """Artifacts of one runtime and precision, so that nothing but the edges differs."""
    if "openvino" in target:
        pytest.importorskip("openvino")
    if target == "cpu-openvino-int8":
        pytest.importorskip("nncf")
    host = ExportOptions(calibration=calibration, input="float")
    graph = replace(host, nms=THRESHOLDS, input="uint8", dynamic_batch=True)
    plain = export(small_weights, target, tmp_path / "host", host)
    made = export(small_weights, target, tmp_path / "graph", graph)
    assert made.manifest.output == GraphDetections(3, 0.1, 0.5, 100)
    assert made.manifest.input.dtype == "uint8"
    assert made.manifest.parity is not None and made.manifest.parity.detections > 0
    assert verify(made.path).deviation <= 1e-6
    with Detector(plain.path, conf=0.1, iou=0.5, max_det=100) as outside, Detector(made.path) as inside:
        for expected, found in zip(outside.batch(PICTURES), inside.batch(PICTURES), strict=True):
            assert len(expected) > 0
            host, graph = (Boxes(each.xyxy, each.confidence, each.class_id) for each in (expected, found))
            if target.endswith("fp32"):  # of two that score alike, either may suppress the other
                assert matched(host, graph) == Agreement(len(host), len(host))
                apart = np.abs(host.xyxy[:, None] - graph.xyxy[None]).max(axis=2).min(axis=1)
                assert (apart < 1e-2).mean() > 0.8  # test_suppression compares them one by one
            else:  # a bit of the input's rounding may flip an integer, and all that follows
                assert (matched(host, graph).share or 0) > 0.9


def test_thresholds_of_the_graph_are_the_detectors(graph_artifact: Path) -> None:
    with (
        Detector(graph_artifact) as plain,
        Detector(graph_artifact, conf=0.3, max_det=5, classes=["cat"]) as strict,
    ):
        assert (plain.pipeline.config.conf, plain.pipeline.config.iou) == (0.1, 0.5)
        found = strict(PICTURES[0])
        assert len(found) <= 5 and set(found.names) <= {"cat"} and (found.confidence > 0.3).all()
    with pytest.raises(UsageError, match=r"conf=0\.05 where 0\.1 is the least"):
        Detector(graph_artifact, conf=0.05)


def test_a_graph_that_suppresses_otherwise_is_caught(graph_artifact: Path, small_weights: Path) -> None:
    """The gate and `verify` see a wrong class, although every box is right."""
    model = onnx.load(graph_artifact / "model.onnx")
    labels = next(node for node in model.graph.node if "labels" in node.output)
    labels.output[0] = "labels/right"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, np.int32), "one"))
    model.graph.node.append(onnx.helper.make_node("Sub", ["labels/right", "one"], ["labels"]))
    broken = graph_artifact.parent / "broken"
    broken.mkdir()
    onnx.save(model, broken / "model.onnx")
    (broken / "golden.npz").write_bytes((graph_artifact / "golden.npz").read_bytes())
    manifest = Manifest.from_json((graph_artifact / MANIFEST).read_text())
    Artifact.seal(broken, manifest)
    with pytest.raises(GateError, match="golden vectors are missed"):
        verify(broken)


@pytest.mark.parametrize(
    "target", ["cpu-tflite-fp32", "ncs-openvino-fp16", "gpu-openvino-fp16", "npu-openvino-int8"]
)
def test_targets_that_cannot_suppress_say_why(
    target: str, small_weights: Path, calibration: CalibrationSource, tmp_path: Path
) -> None:
    pytest.importorskip("openvino" if "openvino" in target else "litert_torch")
    options = ExportOptions(nms=PostprocessConfig(), calibration=calibration)
    with pytest.raises(UnsupportedTargetError, match="cannot suppress in its graph: ") as told:
        export(small_weights, target, tmp_path / "made", options)
    assert told.value.exit_code == 5
    assert "--nms host" in told.value.hint
    assert not (tmp_path / "made").exists()


def test_an_input_that_a_file_cannot_take(small_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedTargetError, match="cannot take uint8 input"):
        export(small_weights, "cpu-torch-fp32", tmp_path / "made", ExportOptions(input="uint8"))


def test_the_command_line(small_weights: Path, tmp_path: Path) -> None:
    base = ["export", str(small_weights), "--target", "cpu-onnx-fp32", "-o", str(tmp_path / "made")]
    assert run([*base, "--conf", "0.3"]) == 2
    assert run([*base, "--nms", "graph", "--conf", "7"]) == 2
    assert run([*base, "--nms", "graph", "--input", "int4"]) == 2
    assert not (tmp_path / "made").exists()
    assert run([*base, "--nms", "graph", "--conf", "0.3", "--input", "uint8"]) == 0
    manifest = Artifact.open(tmp_path / "made").manifest
    assert manifest.output == GraphDetections(3, conf=0.3)
    assert manifest.input.dtype == "uint8"


def run(arguments: list[str]) -> int:
    """The command's exit code."""
    done = CliRunner().invoke(cli, arguments)
    error = done.exception
    return error.exit_code if isinstance(error, EdgeYoloError) else done.exit_code


# Preprocessing in the graph


def convolution(quantized: bool) -> onnx.ModelProto:
    """images -> (quantizer ->) convolution."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes, taken = [], "images"
    if quantized:
        nodes = [
            helper.make_node("QuantizeLinear", ["images", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        ]
        taken = "d"
    nodes.append(helper.make_node("Conv", [taken, "w"], ["p3"], pads=[1, 1, 1, 1]))
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    constants = {"s": np.float32(1 / 255), "z": np.uint8(0), "w": weight}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", kinds.FLOAT, [1, 3, 32, 64])],
        [helper.make_tensor_value_info("p3", kinds.FLOAT, [1, 4, 32, 64])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {"color_order": "RGB", "scale": repr(1 / 255)})
    return model


@pytest.mark.parametrize("by_cast", [False, True])
@pytest.mark.parametrize("quantized", [False, True])
def test_pictures_give_the_same_bits_as_planes(quantized: bool, by_cast: bool) -> None:
    ort = pytest.importorskip("onnxruntime")
    contract, model = InputContract(32, 64), convolution(quantized)
    changed = with_pixels(model, contract, by_cast=by_cast)
    onnx.checker.check_model(changed, full_check=True)
    values = []
    for each, given in ((model, contract), (changed, contract.of_pixels())):
        batch = preprocess(PICTURES[:1], given)[0]
        session = ort.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"])
        values.append(session.run(None, {"images": batch})[0])
    np.testing.assert_array_equal(values[1], values[0])


def test_bytes_go_straight_into_a_quantized_network() -> None:
    """Its input quantizer has the scale of a pixel: there is nothing to quantize, and no pass over floats."""
    changed = with_pixels(convolution(quantized=True), InputContract(32, 64))
    assert [node.op_type for node in changed.graph.node] == [
        "Transpose",
        "Gather",
        "DequantizeLinear",
        "Conv",
    ]
    props = {item.key: item.value for item in changed.metadata_props}
    assert props == {"color_order": "BGR", "scale": "1.0"}
