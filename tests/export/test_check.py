"""`check`: verdicts of every target on a network before it is built."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the export extra")

import torch

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.artifact.target import Target
from edgeyolo.backend import registry
from edgeyolo.backend.op_graph import Graph, Operation
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.errors import UnsupportedTargetError, UsageError
from edgeyolo.export import ExportOptions, export
from edgeyolo.export.check import Check, check_graph, require_fit
from edgeyolo.export.dry_run import check_weights
from edgeyolo.export.trace import trace
from edgeyolo.runtime.postprocess_config import PostprocessConfig

TARGETS = [str(profile.target) for profile, _ in registry.profiles()]


def check(name: str, target: str, size: int = 320, **options: Any) -> Check:
    runtime = options.pop("runtime", None)
    wanted = ExportOptions(size=(size, size), **options)
    return check_weights(name, [target], wanted, runtime=runtime)[0]


@pytest.fixture(scope="module")
def everything() -> list[Check]:
    return check_weights("yolov7-tiny-silu", TARGETS, ExportOptions(size=(320, 320)))


def test_every_target_places_every_operation(everything: list[Check]) -> None:
    for each in everything:
        assert each.fits, each.misfits
        assert sum(place.count for place in each.places) >= 190
        assert all(place.where for place in each.places)
        assert all(place.reason for place in each.places if place.where != each.accelerator)
        # Of ncnn's layers convolutions alone are in integers, about two of five operations less the first and last.
        assert each.share > (0.25 if str(each.target) == "cpu-ncnn-int8" else 0.9)


def test_every_target_states_its_table() -> None:
    for profile, _ in registry.profiles():
        assert profile.limits is not None, profile.target
        if profile.opset is not None:
            assert profile.limits.opsets is not None
            assert profile.limits.opsets[0] <= profile.opset <= profile.limits.opsets[1]


def test_every_bracket_has_its_source(everything: list[Check]) -> None:
    """A name in brackets that leads nowhere is worse than none."""
    import re

    told = [*everything, *check_weights("yolov7-w6", TARGETS, ExportOptions(size=(128, 128)))]
    for each in told:
        words = [*each.notes, *(p.reason for p in each.places), *(f.sentence for f in each.misfits)]
        for name in re.findall(r"\[([#\w]+)\]", " ".join(words)):
            assert name in each.sources, (each.target, name)


def test_leaky_relu_on_the_edge_tpu_is_told_the_way_out() -> None:
    found = check("yolov7-tiny", "edgetpu-tflite-int8")
    with pytest.raises(UnsupportedTargetError) as caught:
        require_fit(found)
    assert "LeakyRelu (55 times): no operator of the edge TPU" in caught.value.message
    assert "yolov7-tiny-silu" in caught.value.hint
    assert "--activation relu" in caught.value.hint
    places = {(place.operator, place.where): place.count for place in found.places}
    assert places["CONV_2D", "edge TPU"] == 1  # the compiler cuts a graph once
    assert places["CONV_2D", "CPU"] == 57


def test_large_activations_do_not_fit_the_edge_tpu() -> None:
    assert check("yolov7-tiny-silu", "edgetpu-tflite-int8", 320).fits
    (finding,) = check("yolov7-tiny-silu", "edgetpu-tflite-int8", 640).misfits
    assert "9.4 MiB at once at 640x640, the chip has 8.0 MiB" in finding.sentence
    assert "320 is safe" in finding.hint


def test_space_to_depth_does_not_fit_the_edge_tpu() -> None:
    (finding,) = check("yolov7-w6", "edgetpu-tflite-int8", 128).misfits
    assert "strides 2" in finding.sentence


def test_space_to_depth_is_folded_for_the_neural_engine() -> None:
    found = check("yolov7-w6", "ane-coreml-fp16", 128)
    assert found.fits
    folded = {place.operator: place.count for place in found.places if place.where == "folded"}
    assert folded == {"slice_by_index": 6, "concat": 1}


@pytest.mark.parametrize("target", ["edgetpu-tflite-int8", "ncs-openvino-fp16"])
def test_one_image_at_a_time(target: str) -> None:
    for options in ({"batch": 4}, {"dynamic_batch": True}):
        found = check("yolov7-tiny-silu", target, **options)
        assert "one image at a time" in found.misfits[0].sentence


def test_a_dynamic_batch_where_sizes_are_fixed() -> None:
    (finding,) = check("yolov7-tiny-silu", "npu-openvino-int8", dynamic_batch=True).misfits
    assert "every size must be fixed" in finding.sentence
    assert check("yolov7-tiny-silu", "cpu-onnx-fp32", dynamic_batch=True).fits


@pytest.mark.parametrize(
    ("target", "last"),
    [("ncs-openvino-fp16", 13), ("jetson-trt-fp16", 17), ("cpu-onnx-fp32", 20), ("cpu-openvino-fp32", 20)],
)
def test_opsets_end_where_the_runtime_does(target: str, last: int) -> None:
    assert check("yolov7-tiny", target, 64, opset=last).fits
    (finding,) = check("yolov7-tiny", target, 64, opset=last + 1).misfits
    assert f"opset {last + 1}: it reads" in finding.sentence


def test_a_target_that_is_not_made_from_onnx_has_no_opset() -> None:
    with pytest.raises(UsageError, match="not made from ONNX"):
        check("yolov7-tiny", "ane-coreml-fp16", 64, opset=18)


@pytest.mark.parametrize(
    ("version", "fits"), [("8.4", False), ("8.5", True), ("10.4.0", True), ("10.5", False)]
)
def test_volta_and_tensorrt(version: str, fits: bool) -> None:
    found = check("yolov7-tiny", "v100-trt-fp16", 64, runtime=version)
    assert found.fits is fits
    if version == "10.5":
        assert "Volta support" in found.misfits[0].sentence
    assert check("yolov7-tiny", "gpu-trt-fp16", 64, runtime="11.0").fits


def test_a_version_where_none_is_told_apart() -> None:
    with pytest.raises(UsageError, match="no versions"):
        check("yolov7-tiny", "cpu-torch-fp32", 64, runtime="2.0")
    with pytest.raises(UsageError, match="expected a version"):
        check("yolov7-tiny", "gpu-trt-fp16", 64, runtime="newest")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("ncs-openvino-int8", "float16 only"),
        ("ncs-openvino-fp32", "float16 only"),
        ("edgetpu-tflite-fp16", "int8 only"),
        ("ane-coreml-fp32", "float16 only"),
        ("v100-trt-fp8", "FP8"),
    ],
)
def test_a_precision_that_the_device_has_not(target: str, reason: str) -> None:
    with pytest.raises(UnsupportedTargetError, match=reason):
        registry.find_target(target)


def test_weights_beyond_float16() -> None:
    from edgeyolo.models.build import build
    from edgeyolo.models.scaling import scale_width
    from edgeyolo.models.specs import get

    network = build(scale_width(get("yolov7-tiny"), 1 / 16), 3, form="plain")
    with torch.no_grad():
        next(iter(network.parameters()))[0, 0, 0, 0] = 1e5
    contract = InputContract(64, 64)
    graph = trace(network, contract)
    for target, fits in (("jetson-trt-fp16", False), ("jetson-trt-fp32", True), ("ane-coreml-fp16", False)):
        found = check_graph(graph, registry.find_target(target)[0], contract)
        assert found.fits is fits
        if not fits:
            assert "65504" in found.misfits[0].sentence


def graph_of(*operations: Operation) -> Graph:
    return Graph("images", (1, 3, 64, 64), operations, (operations[-1].output,), 100)


def test_operators_that_a_target_lacks_are_named() -> None:
    contract = InputContract(64, 64)
    sort = Operation("TopK", "head", ("images",), "sorted", (1, 3, 64, 64))
    for target in ("jetson-trt-fp16", "ane-coreml-fp16", "edgetpu-tflite-int8", "ncs-openvino-fp16"):
        found = check_graph(graph_of(sort), registry.find_target(target)[0], contract)
        assert found.misfits[0].sentence.startswith("TopK (1 times): ")
        assert found.places[0].where == "CPU"
    on_cpu = check_graph(graph_of(sort), registry.find_target("cpu-onnx-int8")[0], contract)
    assert on_cpu.fits
    assert (on_cpu.places[0].where, on_cpu.share) == ("CPU, float32", 0.0)


def places_of(found: Check) -> dict[tuple[str, str], int]:
    return {(place.operator, place.where): place.count for place in found.places}


@pytest.mark.parametrize(
    ("target", "expected", "absent"),
    [
        ("cpu-onnx-fp32", ("NonMaxSuppression", "CPU"), "EfficientNMS_TRT"),
        ("cpu-onnx-int8", ("NonMaxSuppression", "CPU, float32"), "EfficientNMS_TRT"),
        ("cpu-openvino-fp32", ("NonMaxSuppression", "CPU"), "EfficientNMS_TRT"),
        ("jetson-trt-fp32", ("EfficientNMS_TRT", "GPU"), "NonMaxSuppression"),
        ("gpu-trt-fp16", ("EfficientNMS_TRT", "GPU, float32"), "NonMaxSuppression"),
        ("ane-coreml-fp16", ("nonMaximumSuppression", "CPU"), "TopK"),
    ],
)
def test_suppression_in_the_graph_is_placed_too(target: str, expected: tuple[str, str], absent: str) -> None:
    nms = PostprocessConfig()
    found, host = check("yolov7-tiny", target, 64, nms=nms), check("yolov7-tiny", target, 64)
    assert found.fits
    assert places_of(found)[expected] == 1
    operators = {place.operator for place in found.places}
    assert absent not in operators
    assert ("TopK" in operators) is (not target.startswith("ane-"))
    assert not {"TopK", "ArgMax", expected[0]} & {place.operator for place in host.places}
    assert sum(places_of(host).values()) < sum(places_of(found).values())
    assert all(place.reason for place in found.places if place.where != found.accelerator)


def test_its_operators_are_those_of_the_file(small_weights: Path, tmp_path: Path) -> None:
    """Verdicts of `check` on decoding and suppression, against the nodes of an export."""
    import onnx

    options = ExportOptions(nms=PostprocessConfig(), input="float")
    made = export(small_weights, "cpu-onnx-fp32", tmp_path / "made", options)
    (said,) = check_weights(small_weights, ["cpu-onnx-fp32"], options)
    (host,) = check_weights(small_weights, ["cpu-onnx-fp32"], ExportOptions())
    added = Counter({p.operator: p.count for p in said.places})
    added.subtract({p.operator: p.count for p in host.places})
    nodes = onnx.load(made.path / "model.onnx").graph.node
    assert +added == Counter(node.op_type for node in nodes if node.name.startswith("detections/"))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("edgetpu-tflite-int8", "custom operator only"),
        ("ncs-openvino-fp16", "misread"),
        ("npu-openvino-int8", "no fixed size"),
    ],
)
def test_suppression_where_the_target_has_none(target: str, said: str) -> None:
    found = check("yolov7-tiny-silu", target, 64, nms=PostprocessConfig())
    (finding,) = found.misfits
    assert said in finding.sentence
    assert "--nms host" in finding.hint


@pytest.mark.parametrize("target", ["ane-coreml-fp16", "edgetpu-tflite-int8", "ncs-openvino-fp16"])
def test_five_axes_are_too_many(target: str) -> None:
    five = Operation("Mul", "anchors", ("images",), "boxes", (1, 3, 8, 8, 85))
    found = check_graph(graph_of(five), registry.find_target(target)[0], InputContract(64, 64))
    assert "rank 5" in found.misfits[0].sentence


@pytest.mark.parametrize(
    ("target", "kernel", "dilations", "said"),
    [
        ("ane-coreml-fp16", (3, 15), (1, 1), "kernel 3x15, at most 29x13"),
        ("edgetpu-tflite-int8", (3, 3), (1, 2), "dilation 1x2"),
    ],
)
def test_convolutions_beyond_the_tables(
    target: str, kernel: tuple[int, int], dilations: tuple[int, int], said: str
) -> None:
    attributes = {"kernel_shape": kernel, "dilations": dilations, "strides": (1, 1), "group": 1}
    conv = Operation("Conv", "stem", ("images",), "map", (1, 8, 64, 64), attributes)
    found = check_graph(graph_of(conv), registry.find_target(target)[0], InputContract(64, 64))
    assert said in found.misfits[0].sentence


def test_a_backend_that_states_nothing_takes_everything() -> None:
    profile = TargetProfile(Target("cpu", "other", "fp32"), "a third party's", parity=1e-4)
    found = check_graph(
        graph_of(Operation("TopK", "x", ("images",), "y", (1, 3, 64, 64))), profile, InputContract(64, 64)
    )
    assert found.fits
    assert found.share == 1.0


@pytest.mark.slow
def test_the_prediction_is_what_the_converted_file_shows() -> None:
    """The flatbuffer itself, operator by operator, against what was said before it was made."""
    pytest.importorskip("litert_torch", reason="needs the tflite extra")
    from edgeyolo.artifact.contracts import RawMaps
    from edgeyolo.export.source import NetworkSource
    from edgeyolo.models.build import build
    from edgeyolo.models.scaling import scale_width
    from edgeyolo.models.specs import get
    from edgeyolo_tflite import EdgeTpuBackend

    network = build(scale_width(get("yolov7-tiny-silu"), 1 / 16), 3, form="plain").eval()
    spec, contract = network.spec, InputContract(96, 96)
    raw = RawMaps(names=("p3", "p4", "p5"), strides=spec.strides, anchors=spec.anchors, classes=3)
    source: Any = NetworkSource(network, contract, raw, ("a", "b", "c"), None)  # type: ignore[arg-type]
    made = EdgeTpuBackend().check(source)
    said = check_graph(trace(network, contract), registry.find_target("edgetpu-tflite-int8")[0], contract)
    assert {place.operator: place.count for place in said.places} == dict(made.edge_tpu)
    assert said.peak == pytest.approx(made.activations, rel=0.15)  # without the padded copies


def test_contracts_are_part_of_the_answer() -> None:
    found = check("yolov7-tiny-silu", "cpu-onnx-fp32", 64, batch=2)
    assert found.input == replace(InputContract(64, 64), batch=2)
    assert found.to_json()["fits"] is True
