"""Decoding against loops over every cell, against the golden boxes, and at its edges."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import DecodedBoxes, GraphDetections, RawMaps
from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo.runtime.decode import read_decoded
from edgeyolo.runtime.postprocess import (
    DISPLAY,
    EVALUATION,
    TRACKING,
    PostprocessConfig,
    decode,
    logit_floor,
    postprocess,
    sigmoid,
    suppress,
)
from edgeyolo.runtime.postprocess_config import settle
from edgeyolo.runtime.preprocess import Letterbox

Maps = dict[str, NDArray[np.float32]]

TINY = RawMaps(
    names=("p3", "p4", "p5"),
    strides=(8, 16, 32),
    anchors=(
        ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
        ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
        ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
    ),
    classes=3,
)
SMALL = RawMaps(("a", "b"), (8, 16), (((10.0, 13.0), (16.0, 30.0)), ((30.0, 61.0), (62.0, 45.0))), 3)
SQUARE = Letterbox.fit((32, 48), (32, 48))


def random_maps(output: RawMaps, size: tuple[int, int], seed: int = 0, batch: int = 1) -> Maps:
    rng = np.random.default_rng(seed)
    shapes = output.shapes(batch, size)
    return {
        name: rng.normal(0, 3, shape).astype(np.float32)
        for name, shape in zip(output.names, shapes, strict=True)
    }


def channels_last(maps: Maps) -> Maps:
    return {name: np.ascontiguousarray(each.transpose(0, 2, 3, 1)) for name, each in maps.items()}


def by_hand(maps: Maps, output: RawMaps, config: PostprocessConfig) -> list[tuple[float, ...]]:
    """(x1, y1, x2, y2, confidence, class) of every candidate of image 0: the formulas, one cell at a time."""

    def s(x: float) -> float:
        return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))

    found = []
    for name, stride, anchors in zip(output.names, output.strides, output.anchors, strict=True):
        _, _, height, width = maps[name].shape
        cells = maps[name][0].astype(np.float64).reshape(len(anchors), 5 + output.classes, height, width)
        for anchor, y, x in np.ndindex(len(anchors), height, width):
            values = cells[anchor, :, y, x]
            cx, cy = (2 * s(values[0]) - 0.5 + x) * stride, (2 * s(values[1]) - 0.5 + y) * stride
            w, h = ((2 * s(values[2 + axis])) ** 2 * anchors[anchor][axis] for axis in (0, 1))
            scores = (
                [s(values[4]) * s(value) for value in values[5:]] if output.classes > 1 else [s(values[4])]
            )
            labels = range(len(scores)) if config.multi_label else [int(np.argmax(values[5:]))]
            for label in labels:
                if scores[label] > config.conf and (config.classes is None or label in config.classes):
                    found.append(
                        (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, scores[label], float(label))
                    )
    return found


# --- golden ---


def golden_maps(shared: Path) -> tuple[Maps, NDArray[np.float32]]:
    """Raw maps (1, 3, H, W, 8) of the checkpoint turned into the contract's NCHW, and the decoded output."""
    stored = np.load(shared / "data/checkpoints/yolov7-tiny-bccd-256.BloodImage_00007.npz")
    maps = {}
    for name in TINY.names:
        _, anchors, height, width, channels = stored[name].shape
        maps[name] = stored[name].transpose(0, 1, 4, 2, 3).reshape(1, anchors * channels, height, width)
    return maps, stored["decoded"][0]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_golden_boxes_all_of_them_and_no_more(shared: Path, layout: str) -> None:
    maps, _ = golden_maps(shared)
    output = TINY
    if layout == "NHWC":
        maps, output = channels_last(maps), RawMaps(TINY.names, TINY.strides, TINY.anchors, 3, layout)
    expected = json.loads((shared / "data/checkpoints/yolov7-tiny-bccd-256.expected.json").read_text())
    golden = np.array(expected["detections_conf025_iou045"]["BloodImage_00007"])
    (found,) = postprocess(maps, output, [Letterbox.fit((480, 640), (256, 256))])
    assert len(found) == len(golden)
    assert np.abs(found.xyxy - golden[:, :4]).max() < 0.01
    assert np.abs(found.confidence - golden[:, 4]).max() < 1e-5
    assert found.class_id.tolist() == golden[:, 5].tolist()


def test_the_golden_decoded_output(shared: Path) -> None:
    maps, decoded = golden_maps(shared)
    found = decode(maps, TINY, PostprocessConfig(conf=0))
    xy, wh = decoded[:, :2], decoded[:, 2:4]
    assert np.abs(found.xyxy - np.concatenate([xy - wh / 2, xy + wh / 2], axis=1)).max() < 1e-3
    assert np.abs(found.confidence - decoded[:, 4] * decoded[:, 5:].max(axis=1)).max() < 1e-6
    assert found.class_id.tolist() == decoded[:, 5:].argmax(axis=1).tolist()


# --- decoding ---


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    conf=st.sampled_from([0.0, 0.001, 0.25, 0.7, 0.999, 1.0]),
    multi_label=st.booleans(),
    classes=st.sampled_from([None, (1,), (0, 2)]),
    layout=st.sampled_from(["NCHW", "NHWC"]),
    count=st.sampled_from([1, 3]),
)
def test_equal_to_the_loop(**case: Any) -> None:
    count, seed = case.pop("count"), case.pop("seed")
    output = RawMaps(SMALL.names, SMALL.strides, SMALL.anchors, count)
    chosen = case["classes"] if count == 3 or case["classes"] is None else (0,)
    config = PostprocessConfig(conf=case["conf"], multi_label=case["multi_label"], classes=chosen)
    maps = random_maps(output, (32, 48), seed)
    expected = by_hand(maps, output, config)
    if case["layout"] == "NHWC":
        maps = channels_last(maps)
        output = RawMaps(output.names, output.strides, output.anchors, count, "NHWC")
    found = decode(maps, output, config)
    assert found.class_id.tolist() == [each[5] for each in expected], "the same, in the same order"
    if expected:
        values = np.array(expected)
        assert np.abs(found.xyxy - values[:, :4]).max() < 1e-3
        assert np.allclose(found.confidence, values[:, 4], rtol=1e-5, atol=1e-9)


def test_each_image_of_a_batch_and_its_own_letterbox() -> None:
    maps = random_maps(SMALL, (32, 48), batch=3)
    boxes = [Letterbox.fit(size, (32, 48)) for size in ((64, 96), (300, 100))]
    found = postprocess(maps, SMALL, boxes)
    assert len(found) == 2, "the third row is padding of the batch"
    for index, box in enumerate(boxes):
        alone = {name: each[index : index + 1] for name, each in maps.items()}
        (single,) = postprocess(alone, SMALL, [box])
        assert np.array_equal(found[index].xyxy, single.xyxy)
        assert (single.xyxy[:, [2, 3]] <= [box.image_size[1], box.image_size[0]]).all()


def test_results_are_sorted_and_limited() -> None:
    maps = random_maps(SMALL, (32, 48))
    (found,) = postprocess(maps, SMALL, [SQUARE], EVALUATION)
    assert len(found) > 20
    assert (np.diff(found.confidence) <= 0).all()
    (few,) = postprocess(maps, SMALL, [SQUARE], PostprocessConfig(0.001, 0.65, max_det=5, multi_label=True))
    assert np.array_equal(few.xyxy, found.xyxy[:5])
    assert (few.xyxy.dtype, few.confidence.dtype, few.class_id.dtype) == (np.float32, np.float32, np.int64)


def test_the_best_candidates_enter_the_suppression() -> None:
    maps = random_maps(SMALL, (32, 48))
    config = PostprocessConfig(conf=0.001, multi_label=True)
    everything = decode(maps, SMALL, config)
    best = np.sort(np.argsort(-everything.confidence, kind="stable")[:17])
    limited = PostprocessConfig(conf=0.001, multi_label=True, max_candidates=17)
    assert np.array_equal(decode(maps, SMALL, limited).xyxy, everything.xyxy[best])
    assert np.array_equal(suppress(everything, limited).xyxy, suppress(everything[best], config).xyxy)


def test_first_of_equal_candidates_is_taken() -> None:
    maps = {
        name: np.zeros(shape, np.float32)
        for name, shape in zip(SMALL.names, SMALL.shapes(1, (32, 48)), strict=True)
    }
    whole = decode(maps, SMALL, PostprocessConfig(conf=0.1))
    part = decode(maps, SMALL, PostprocessConfig(conf=0.1, max_candidates=7))
    assert np.array_equal(part.xyxy, whole.xyxy[:7])


def test_one_class_means_the_class_score_is_not_used() -> None:
    output = RawMaps(SMALL.names, SMALL.strides, SMALL.anchors, 1)
    maps = random_maps(output, (32, 48))
    plain = decode(maps, output)
    for name in output.names:
        maps[name].reshape(2, 6, -1)[:, 5] = -50
    other = decode(maps, output)
    assert len(plain) > 0
    assert np.array_equal(plain.confidence, other.confidence)


def test_agnostic_suppression_crosses_classes() -> None:
    maps = random_maps(SMALL, (32, 48))
    by_class = postprocess(maps, SMALL, [SQUARE], PostprocessConfig(0.1, 0.3))[0]
    agnostic = postprocess(maps, SMALL, [SQUARE], PostprocessConfig(0.1, 0.3, agnostic=True))[0]
    assert 0 < len(agnostic) < len(by_class)


def test_a_box_in_the_padding_is_no_detection() -> None:
    """Stride 16 on a 64 x 64 input of which the image covers the rows 24 to 40."""
    output = RawMaps(("a",), (16,), (((8.0, 8.0),),), 2)
    values = np.full((1, 7, 4, 4), -20, np.float32)
    values[0, :4] = 0  # centre of the cell, size of the anchor
    values[0, 4:6, 0, 2] = 9  # at (40, 8): in the padding
    values[0, 4:6, 2, 1] = 9  # at (24, 40): half in the image
    (found,) = postprocess({"a": values}, output, [Letterbox.fit((16, 64), (64, 64))])
    assert found.xyxy.tolist() == [[20, 12, 28, 16]]


def test_extreme_logits_overflow_nothing() -> None:
    maps = {
        name: np.full(shape, 200, np.float32)
        for name, shape in zip(SMALL.names, SMALL.shapes(1, (32, 48)), strict=True)
    }
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = decode(maps, SMALL)
        assert (found.confidence == 1).all()
        assert np.isfinite(found.xyxy).all()
        assert len(decode({name: -each for name, each in maps.items()}, SMALL)) == 0


@pytest.mark.parametrize("channel", [0, 4, 6])
def test_nan_is_an_error(channel: int) -> None:
    maps = random_maps(SMALL, (32, 48))
    cells = maps["b"].reshape(2, 8, -1)
    cells[1, 4, 3] = 5  # a candidate
    cells[1, channel, 3] = np.nan
    with pytest.raises(EdgeYoloError, match="'b' holds NaN"):
        postprocess(maps, SMALL, [SQUARE])


def test_nothing_above_the_threshold() -> None:
    maps = {name: each - 100 for name, each in random_maps(SMALL, (32, 48)).items()}
    (found,) = postprocess(maps, SMALL, [SQUARE], EVALUATION)
    assert found.xyxy.shape == (0, 4)
    assert found.class_id.dtype == np.int64


def test_maps_that_do_not_fit_the_contract_are_refused() -> None:
    maps = random_maps(SMALL, (32, 48))
    with pytest.raises(EdgeYoloError, match=r"expects also \['b'\]"):
        postprocess({"a": maps["a"]}, SMALL, [SQUARE])
    with pytest.raises(EdgeYoloError, match=r"'a': expected the shape \(1, 16, 4, 6\), got \(1, 4, 6, 16\)"):
        postprocess(channels_last(maps), SMALL, [SQUARE])
    with pytest.raises(EdgeYoloError, match=r"\(2, 16, 4, 6\)"):
        postprocess(maps, SMALL, [SQUARE, SQUARE])
    with pytest.raises(UsageError, match=r"classes=\[3\]"):
        postprocess(maps, SMALL, [SQUARE], PostprocessConfig(classes=(1, 3)))


def test_half_precision_maps_are_taken() -> None:
    maps = random_maps(SMALL, (32, 48))
    half = {name: each.astype(np.float16) for name, each in maps.items()}
    assert (
        len(decode(half, SMALL)) == len(decode({n: h.astype(np.float32) for n, h in half.items()}, SMALL)) > 0
    )
    assert decode(half, SMALL).xyxy.dtype == np.float32


# --- thresholds ---


@pytest.mark.parametrize(
    "changes",
    [
        {"conf": -0.1},
        {"conf": 1.1},
        {"conf": float("nan")},
        {"conf": "0.5"},
        {"class_conf": (0.5, 1.5)},
        {"iou": 45},
        {"iou": -1},
        {"max_det": 0},
        {"max_det": 1.5},
        {"max_candidates": 0},
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(UsageError, match=f"{name}="):
        PostprocessConfig(**changes)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_class_has_a_confidence_of_its_own(multi_label: bool) -> None:
    maps, own = random_maps(SMALL, (32, 48)), (0.2, 0.9, 0.4)
    base = PostprocessConfig(0.2, multi_label=multi_label)
    every = postprocess(maps, SMALL, [SQUARE], base)[0]
    found = postprocess(maps, SMALL, [SQUARE], replace(base, class_conf=own))[0]
    kept = every.confidence > np.array(own, np.float32)[every.class_id]
    assert 0 < kept.sum() < len(every)
    assert np.array_equal(found.confidence, every.confidence[kept])
    assert np.array_equal(found.xyxy, every.xyxy[kept])
    with pytest.raises(UsageError, match="expected 3 confidences, one for each class, got 2"):
        postprocess(maps, SMALL, [SQUARE], replace(base, class_conf=own[:2]))


def test_confidences_by_class_give_way_to_what_is_asked_for() -> None:
    own = (0.3, 0.15, 0.6)
    assert settle(SMALL, class_conf=own) == replace(DISPLAY, conf=0.15, class_conf=own)
    assert settle(SMALL, conf=0.4, class_conf=own) == replace(DISPLAY, conf=0.4)
    graph = GraphDetections(3, 0.25, 0.45, 300)
    assert settle(graph, class_conf=own) == replace(DISPLAY, class_conf=own)  # a graph's floor stays


def test_presets() -> None:
    assert (DISPLAY.conf, DISPLAY.iou, DISPLAY.multi_label, DISPLAY.max_det) == (0.25, 0.45, False, 300)
    assert (EVALUATION.conf, EVALUATION.iou, EVALUATION.multi_label, EVALUATION.max_det) == (
        0.001,
        0.65,
        True,
        300,
    )
    assert EVALUATION.max_candidates == 30_000
    assert TRACKING.conf == 0.1
    assert PostprocessConfig(classes=(2, 0, 2)).classes == (0, 2)


def test_sigmoid_is_exact_at_both_ends() -> None:
    x = np.array([-80, -20, -1, 0, 1, 20, 80], np.float32)
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert sigmoid(x).dtype == np.float32
    assert np.allclose(sigmoid(x), exact, rtol=1e-6, atol=0)


@given(st.floats(-40, 40, width=32), st.floats(0, 1))
def test_nothing_above_the_threshold_is_below_the_floor(x: float, p: float) -> None:
    if sigmoid(np.array([x], np.float32))[0] > np.float32(p):
        assert x > logit_floor(p)
    assert logit_floor(0) == -math.inf


def test_boxes_that_the_file_decoded() -> None:
    """Centre and size to corners; objectness times class decides, strictly above the threshold, as in raw maps."""
    output = DecodedBoxes(("boxes",), 4, 2)
    rows = np.array(
        [
            [50, 40, 20, 10, 0.8, 0.2, 0.9],
            [10, 10, 4, 4, 0.5, 0.5, 0.4],
            [90, 90, 10, 10, 0.24, 1.0, 0.0],
            [30, 30, 6, 8, 1.0, 0.5, 0.6],
        ],
        np.float32,
    )
    best = read_decoded(rows, output, replace(DISPLAY, conf=0.25))
    assert best.xyxy.tolist() == [[40, 35, 60, 45], [27, 26, 33, 34]]
    assert best.class_id.tolist() == [1, 1]
    assert best.confidence == pytest.approx([0.72, 0.6])
    each = read_decoded(rows, output, replace(DISPLAY, conf=0.5, multi_label=True))
    assert (each.class_id.tolist(), each.confidence == pytest.approx([0.72, 0.6])) == ([1, 1], True)
    every = read_decoded(rows, output, replace(DISPLAY, conf=0.15, multi_label=True))
    assert every.class_id.tolist() == [0, 1, 0, 1, 0, 0, 1]
    assert read_decoded(rows, output, replace(DISPLAY, conf=0.25, classes=(0,))).class_id.tolist() == []
    one = read_decoded(rows[:, :6], DecodedBoxes(("boxes",), 4, 1), replace(DISPLAY, conf=0.5))
    assert one.confidence == pytest.approx([0.8, 1.0]), "of one class, objectness is the confidence"
    for place in ((1, 4), (0, 1)):
        broken = rows.copy()
        broken[place] = np.nan
        with pytest.raises(EdgeYoloError, match="holds NaN"):
            read_decoded(broken, output, DISPLAY)
