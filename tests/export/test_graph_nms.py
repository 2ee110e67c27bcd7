"""Suppression in a graph gives what the host gives, on every runtime that takes the graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeyolo.artifact.contracts import GraphDetections, InputContract, RawMaps
from edgeyolo.backend.op_graph import TENSORRT_NMS
from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo.export.graph_ends.nms import suppression_graph
from edgeyolo.runtime.postprocess import Boxes, PostprocessConfig, postprocess
from edgeyolo.runtime.postprocess_config import EVALUATION, settle
from edgeyolo.runtime.preprocess import Letterbox

onnx = pytest.importorskip("onnx", reason="needs the export extra")

Maps = dict[str, np.ndarray]
Run = Callable[["onnx.ModelProto", Maps], Maps]

ANCHORS = (((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)), ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)))
RAW = RawMaps(("p3", "p4"), (8, 16), ANCHORS, 3)
SIZE = (64, 96)


def by_onnxruntime(model: onnx.ModelProto, maps: Maps) -> Maps:
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, maps), strict=True))


def by_openvino(model: onnx.ModelProto, maps: Maps) -> Maps:
    ov = pytest.importorskip("openvino")
    from edgeyolo_openvino.graph_ends import read_suppression

    network = read_suppression(model.SerializeToString())
    found = ov.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(maps)
    return {name: np.array(values) for port, values in found.items() for name in port.get_names()}


RUNTIMES = [by_onnxruntime, by_openvino]


def random_maps(
    raw: RawMaps,
    size: tuple[int, int],
    batch: int = 1,
    seed: int = 0,
    *,
    shift: float = -2.0,
    digits: int = 1,
) -> Maps:
    """Logits on a coarse grid, so that equal confidences are common."""
    rng = np.random.default_rng(seed)
    maps = {}
    for name, shape in zip(raw.names, raw.shapes(batch, size), strict=True):
        values = rng.normal(0, 2, shape).reshape(batch, len(raw.anchors[0]), -1, *shape[2:])
        values[:, :, 4] += shift
        maps[name] = np.round(values, digits).reshape(shape).astype(np.float32)
    return maps


def both(
    run: Run,
    raw: RawMaps,
    graph: GraphDetections,
    maps: Maps,
    size: tuple[int, int] = SIZE,
    *,
    dynamic: bool = False,
) -> list[tuple[Boxes, Boxes]]:
    """Detections by the host and by the graph, image by image, in pixels of the input."""
    batch = len(maps[raw.names[0]])
    contract = InputContract(*size, batch=1 if dynamic else batch, dynamic_batch=dynamic)
    outputs = run(suppression_graph(raw, graph, contract, 18), maps)
    boxes = [Letterbox.fit(size, size)] * batch
    config = replace(settle(graph), max_candidates=graph.max_candidates)
    return list(
        zip(
            postprocess(maps, raw, boxes, config),
            postprocess(outputs, graph, boxes, settle(graph)),
            strict=True,
        )
    )


def assert_same(host: Boxes, graph: Boxes) -> None:
    assert len(host) == len(graph)
    np.testing.assert_array_equal(graph.class_id, host.class_id)
    np.testing.assert_allclose(graph.confidence, host.confidence, atol=1e-6)
    np.testing.assert_allclose(graph.xyxy, host.xyxy, atol=1e-3)


@pytest.mark.parametrize("run", RUNTIMES)
@pytest.mark.parametrize("classes", [1, 3, 100])
def test_the_graph_gives_what_the_host_gives_equal_scores_included(run: Run, classes: int) -> None:
    raw = replace(RAW, classes=classes)
    for host, graph in both(run, raw, GraphDetections(classes), random_maps(raw, SIZE, batch=3)):
        assert len(host) > 20
        assert_same(host, graph)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    conf=st.sampled_from([0.001, 0.1, 0.25, 0.6]),
    iou=st.sampled_from([0.0, 0.3, 0.45, 0.7, 1.0]),
    max_det=st.sampled_from([1, 7, 300]),
    shift=st.sampled_from([-8.0, -3.0, 0.0]),
)
def test_any_thresholds(seed: int, conf: float, iou: float, max_det: int, shift: float) -> None:
    wanted = GraphDetections(3, conf, iou, max_det, max_candidates=64)
    # Finer values: with a limit on candidates, a rounding of the sigmoid decides between equal ones.
    for host, graph in both(
        by_onnxruntime, RAW, wanted, random_maps(RAW, SIZE, 2, seed, shift=shift, digits=6)
    ):
        assert_same(host, graph)


@pytest.mark.parametrize("run", RUNTIMES)
def test_two_classes_at_one_place_both_stay_and_two_of_one_class_do_not(run: Run) -> None:
    raw = replace(RAW, classes=90)
    maps = {
        name: np.full(shape, -9, np.float32)
        for name, shape in zip(raw.names, raw.shapes(1, SIZE), strict=True)
    }
    channels = 5 + raw.classes
    for anchor, class_id in (
        (0, 0),
        (1, 89),
        (2, 89),
    ):  # three anchors of one cell, all made as large as the first
        plane = maps["p3"][0, anchor * channels : (anchor + 1) * channels, 3, 5]
        width, height = np.array(ANCHORS[0][0]) / np.array(ANCHORS[0][anchor])
        ratio = np.sqrt([width, height]) / 2
        plane[:2], plane[2:4] = 0, np.log(ratio / (1 - ratio))
        plane[4], plane[5 + class_id] = 4 - anchor, 6
    ((host, graph),) = both(run, raw, GraphDetections(raw.classes), maps)
    assert graph.class_id.tolist() == [0, 89]
    assert np.abs(graph.xyxy[0] - graph.xyxy[1]).max() < 1e-3
    assert_same(host, graph)


@pytest.mark.parametrize("run", RUNTIMES)
def test_images_of_a_batch_do_not_meet(run: Run) -> None:
    """The same picture twice, and one without anything between them."""
    maps = random_maps(RAW, SIZE, 3)
    for each in maps.values():
        each[2] = each[0]
        each[1] = -9
    found = both(run, RAW, GraphDetections(3), maps, dynamic=True)
    assert len(found[1][1]) == 0
    assert np.array_equal(found[0][1].xyxy, found[2][1].xyxy)
    for host, graph in found:
        assert_same(host, graph)


def test_a_picture_with_fewer_cells_than_detections_are_allowed() -> None:
    size = (32, 32)  # 60 cells, 300 detections
    ((host, graph),) = both(by_onnxruntime, RAW, GraphDetections(3), random_maps(RAW, size, shift=2), size)
    assert_same(host, graph)


def test_rows_behind_the_count_are_zero() -> None:
    graph = GraphDetections(3, conf=0.5)
    maps = random_maps(RAW, SIZE)
    outputs = by_onnxruntime(suppression_graph(RAW, graph, InputContract(*SIZE), 18), maps)
    assert [outputs[name].shape for name in graph.names] == list(graph.shapes(1, SIZE))
    count = int(outputs["count"][0, 0])
    assert 0 < count < 300
    assert not any(outputs[name][0, count:].any() for name in ("boxes", "scores", "labels"))
    assert (np.diff(outputs["scores"][0, :count]) <= 0).all()


@pytest.mark.parametrize("opset", [13, 17, 18])
def test_the_plugin_gets_what_the_operator_gets(opset: int) -> None:
    model = suppression_graph(RAW, GraphDetections(3, 0.3, 0.5, 77), InputContract(*SIZE), opset, plugin=True)
    onnx.checker.check_model(model)
    node = model.graph.node[-1]
    assert (node.op_type, node.domain, list(node.output)) == (
        TENSORRT_NMS,
        "TRT",
        ["count", "boxes", "scores", "labels"],
    )
    said = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    assert said == {
        "plugin_version": b"1", "score_threshold": pytest.approx(0.3), "iou_threshold": 0.5, "max_output_boxes": 77,
        "background_class": -1, "score_activation": 0, "box_coding": 0,
    }  # fmt: skip


# What an artifact with such a graph leaves to choose


def test_thresholds_may_be_tightened() -> None:
    graph = GraphDetections(3, conf=0.3, iou=0.5, max_det=20)
    maps = random_maps(RAW, SIZE)
    outputs = by_onnxruntime(suppression_graph(RAW, graph, InputContract(*SIZE), 18), maps)
    boxes = [Letterbox.fit(SIZE, SIZE)]
    config = replace(settle(graph, conf=0.5, max_det=4), classes=(1,))
    (few,) = postprocess(outputs, graph, boxes, config)
    assert 0 < len(few) <= 4
    assert (few.confidence > 0.5).all() and set(few.class_id) == {1}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"conf": 0.2}, "conf=0.2 where 0.3 is the least"),
        ({"iou": 0.45}, "iou=0.45 where it is 0.5"),
        ({"max_det": 300}, "max_det=300 where 20 is the most"),
        ({"multi_label": True}, "several classes a box"),
        ({"agnostic": True}, "across classes"),
    ],
)
def test_thresholds_settled_in_the_graph_cannot_be_loosened(asked: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said) as told:
        settle(GraphDetections(3, conf=0.3, iou=0.5, max_det=20), **asked)  # type: ignore[arg-type]
    assert "--nms" in told.value.hint


def test_a_graph_is_judged_by_its_own_thresholds() -> None:
    config = settle(GraphDetections(3, conf=0.3, iou=0.5, max_det=20), EVALUATION)
    assert config == PostprocessConfig(0.3, 0.5, 20)
    assert settle(RAW, EVALUATION) == EVALUATION
    assert settle(RAW, EVALUATION, conf=0.1).conf == 0.1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("count", 301, "counts 301"), ("scores", np.nan, "no numbers"), ("boxes", np.inf, "no numbers")],
)
def test_outputs_that_cannot_be_are_refused(name: str, value: float, said: str) -> None:
    graph = GraphDetections(3)
    outputs = {
        each: np.ones(shape, np.float32)
        for each, shape in zip(graph.names, graph.shapes(1, SIZE), strict=True)
    }
    outputs[name][0, 0] = value
    with pytest.raises(EdgeYoloError, match=said):
        postprocess(outputs, graph, [Letterbox.fit(SIZE, SIZE)])
