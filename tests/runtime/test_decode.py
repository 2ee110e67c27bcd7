"""Readers of a network's output at their thresholds, from both sides, and at the ends of float32."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import DecodedBoxes, RankedBoxes, RawMaps
from edgeyolo.errors import EdgeYoloError, NotFiniteError, UsageError
from edgeyolo.runtime.decode import (
    Boxes,
    best_candidates,
    decode,
    logit_floor,
    passing,
    read_decoded,
    read_ranked,
    sigmoid,
)
from edgeyolo.runtime.postprocess_config import DISPLAY, PostprocessConfig

ABOVE = float(np.nextafter(np.float32(0.25), np.float32(1)))
"""The next float32 above DISPLAY's confidence; the threshold itself is no detection."""
BELOW = float(np.nextafter(np.float32(0.25), np.float32(0)))

OBJECTNESS = DecodedBoxes(("boxes",), 4, 3)
SCORED = DecodedBoxes(("boxes",), 4, 3, objectness=False)
RANKED = RankedBoxes(("rows",), 4, 3)


def array(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


def described(boxes: Boxes) -> list[tuple[int, float]]:
    """Class and confidence of each box."""
    return [
        (int(label), round(float(score), 6))
        for label, score in zip(boxes.class_id, boxes.confidence, strict=True)
    ]


# --- scores of classes, no objectness ---


def test_scored_rows_pass_above_the_threshold_only() -> None:
    rows = array([50, 40, 20, 10, 0.1, 0.25, 0.2], [30, 30, 8, 6, 0.1, 0.2, ABOVE])
    for output, given in ((SCORED, rows), (replace(SCORED, transposed=True), rows.T)):
        found = read_decoded(given, output, DISPLAY)
        assert found.xyxy.tolist() == [[26, 27, 34, 33]]
        assert found.class_id.tolist() == [2]
        assert found.confidence.tolist() == [ABOVE]


def test_scored_rows_give_their_best_class_or_every_one_above() -> None:
    rows = array([50, 40, 20, 10, 0.3, 0.25, 0.9], [10, 20, 4, 2, 0.1, 0.6, 0.4])
    assert described(read_decoded(rows, SCORED, DISPLAY)) == [(2, 0.9), (1, 0.6)]
    many = replace(DISPLAY, multi_label=True)
    every = read_decoded(rows, SCORED, many)
    assert described(every) == [(0, 0.3), (2, 0.9), (1, 0.6), (2, 0.4)]
    first, second = [40, 35, 60, 45], [8, 19, 12, 21]
    assert every.xyxy.tolist() == [first, first, second, second]
    assert described(read_decoded(rows, SCORED, replace(many, classes=(0, 1)))) == [(0, 0.3), (1, 0.6)]
    with pytest.raises(UsageError, match=r"classes=\[3\]: the network has the classes 0 to 2"):
        read_decoded(rows, SCORED, replace(DISPLAY, classes=(2, 3)))


def test_scored_rows_of_half_precision_are_read_as_float32() -> None:
    found = read_decoded(array([50, 40, 21, 10, 0.1, 0.5, 0.25]).astype(np.float16), SCORED, DISPLAY)
    assert (found.xyxy.dtype, found.confidence.dtype, found.class_id.dtype) == (
        np.float32,
        np.float32,
        np.int64,
    )
    assert found.xyxy.tolist() == [[39.5, 35, 60.5, 45]]


@pytest.mark.parametrize("output", [OBJECTNESS, SCORED])
def test_nan_is_refused_in_scores_and_in_boxes_that_count(output: DecodedBoxes) -> None:
    """The box of a row below the threshold is never read."""
    weak, strong = [0.1, 0.1, 0.1, 0.1], [0.9, 0.9, 0.5, 0.5]
    columns = 8 if output.objectness else 7
    rows = array([50, 40, 20, 10, *weak], [30, 30, 8, 6, *strong])[:, :columns]
    for row, column, refused in ((0, 4, True), (1, 4, True), (1, 0, True), (0, 0, False)):
        broken = rows.copy()
        broken[row, column] = np.nan
        if refused:
            with pytest.raises(NotFiniteError, match="'boxes' holds NaN"):
                read_decoded(broken, output, DISPLAY)
        else:
            assert len(read_decoded(broken, output, DISPLAY)) == 1


# --- objectness and classes ---


def test_objectness_times_class_must_be_above_the_threshold() -> None:
    rows = array(
        [50, 40, 20, 10, 0.25, 1.0, 1.0, 1.0],  # objectness alone is on it
        [50, 40, 20, 10, 0.5, 0.5, 0.25, 0.25],  # the product is on it
        [50, 40, 20, 10, 0.5, 2 * ABOVE, 0.5, 0.75],
        [50, 40, 20, 10, ABOVE, 0.0, 0.0, 1.0],
    )
    assert described(read_decoded(rows, OBJECTNESS, DISPLAY)) == [(2, 0.375), (2, 0.25)]
    many = replace(DISPLAY, multi_label=True)
    assert described(read_decoded(rows, OBJECTNESS, many)) == [(0, 0.25), (2, 0.375), (2, 0.25)]


def test_one_class_scores_by_objectness_whatever_is_asked() -> None:
    one = DecodedBoxes(("boxes",), 4, 1)
    rows = array([50, 40, 20, 10, 0.75, 1.0], [50, 40, 20, 10, 0.25, 1.0])
    for many in (False, True):
        assert described(read_decoded(rows, one, replace(DISPLAY, multi_label=many))) == [(0, 0.75)]


# --- rows that are detections ---


def test_ranked_rows_are_sorted_and_cut() -> None:
    rows = array(
        [0, 0, 9, 9, 0.5, 0],
        [1, 0, 9, 9, 0.25, 1],
        [2, 0, 9, 9, 0.75, 2],
        [3, 0, 9, 9, 0.5, 1],
        [4, 0, 9, 9, ABOVE, 0],
    )
    found = read_ranked(rows, RANKED, DISPLAY)
    assert found.xyxy.tolist() == [[x, 0, 9, 9] for x in (2, 0, 3, 4)], (
        "equal scores in the order of the rows"
    )
    assert found.confidence.tolist() == [0.75, 0.5, 0.5, ABOVE]
    assert found.class_id.tolist() == [2, 0, 1, 0]
    assert read_ranked(rows, RANKED, replace(DISPLAY, max_det=2)).xyxy[:, 0].tolist() == [2, 0]
    assert read_ranked(rows, RANKED, replace(DISPLAY, classes=(0,))).xyxy[:, 0].tolist() == [0, 4]
    assert len(read_ranked(rows[1:2], RANKED, DISPLAY)) == 0


@pytest.mark.parametrize(("label", "read"), [(-0.4, 0), (0, 0), (1.6, 2), (2.4, 2)])
def test_ranked_rows_may_hold_every_class_of_the_network(label: float, read: int) -> None:
    assert read_ranked(array([0, 0, 9, 9, 0.5, label]), RANKED, DISPLAY).class_id.tolist() == [read]


@pytest.mark.parametrize("label", [-1, 2.6, 3])
def test_ranked_rows_of_a_class_that_the_network_lacks_are_refused(label: float) -> None:
    rows = array([0, 0, 9, 9, 0.5, 1], [0, 0, 9, 9, 0.5, label], [0, 0, 9, 9, 0.5, 2])
    with pytest.raises(EdgeYoloError, match="there are 3"):
        read_ranked(rows, RANKED, DISPLAY)
    rows[1, 4] = 0.25  # below the threshold a row is padding, whatever its class
    assert read_ranked(rows, RANKED, DISPLAY).class_id.tolist() == [1, 2]


def test_ranked_rows_with_nan_are_refused() -> None:
    with pytest.raises(NotFiniteError, match="'rows' holds NaN"):
        read_ranked(array([0, np.nan, 9, 9, 0.1, 1], [0, 0, 9, 9, 0.5, 1]), RANKED, DISPLAY)


# --- raw maps ---

CELLS = RawMaps(("p3",), (8,), (((16.0, 32.0),),), 2)


def one_cell(objectness: float, *classes: float) -> dict[str, NDArray[np.float32]]:
    """A map of one cell, its box in the middle of the cell and as large as the anchor."""
    return {"p3": np.float32([0, 0, 0, 0, objectness, *classes]).reshape(1, -1, 1, 1)}


def test_the_first_image_of_a_batch_is_decoded_unless_another_is_named() -> None:
    maps = {"p3": np.concatenate([one_cell(x, 9, -9)["p3"] for x in (4, 2)])}
    first, second = (float(sigmoid(np.float32([x]))[0]) for x in (4, 2))
    assert decode(maps, CELLS).confidence == pytest.approx([first], rel=1e-3)
    assert decode(maps, CELLS, image=1).confidence == pytest.approx([second], rel=1e-3)
    assert decode(maps, CELLS).xyxy.tolist() == [[-4, -12, 12, 20]]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_boxes_are_divided_by_their_gain(layout: str) -> None:
    output = RawMaps(("p3",), (8,), (((10.0, 13.0), (16.0, 30.0)),), 3, layout=layout)
    logits = np.random.default_rng(0).normal(0, 2, (1, 2, 8, 4, 5)).astype(np.float32)
    gained = logits.copy()
    gained[:, :, :4] *= 2.5
    found = []
    for values in (logits, gained):
        flat = values.reshape(1, 16, 4, 5)
        found.append(flat if layout == "NCHW" else flat.transpose(0, 2, 3, 1))
    plain = decode({"p3": found[0]}, output)
    other = decode({"p3": found[1]}, replace(output, box_gain=2.5))
    assert len(plain) and np.array_equal(plain.confidence, other.confidence)
    np.testing.assert_allclose(other.xyxy, plain.xyxy, rtol=1e-5, atol=1e-4)


def test_no_candidates_are_no_boxes_of_the_usual_types() -> None:
    none = decode(one_cell(-9, 9, 9), CELLS)
    assert (none.xyxy.shape, none.confidence.shape, none.class_id.shape) == ((0, 4), (0,), (0,))
    assert (none.xyxy.dtype, none.confidence.dtype, none.class_id.dtype) == (
        np.float32,
        np.float32,
        np.int64,
    )


@pytest.mark.parametrize("multi_label", [False, True])
def test_raw_maps_pass_above_the_threshold_only(multi_label: bool) -> None:
    """Sigmoid(0) times sigmoid(0) is 1/4 exactly."""
    maps = one_cell(0, 0, -1)
    for conf, found in ((0.25, 0), (BELOW, 1)):
        assert len(decode(maps, CELLS, PostprocessConfig(conf, multi_label=multi_label))) == found
    alone = RawMaps(("p3",), (8,), (((16.0, 32.0),),), 1)
    for conf, found in ((0.5, 0), (2 * BELOW, 1)):
        assert len(decode(one_cell(0, 0), alone, PostprocessConfig(conf, multi_label=multi_label))) == found


@pytest.mark.parametrize("objectness", [-200, -90, 200])
@pytest.mark.parametrize("conf", [0.0, 1e-12, 1.0])
def test_every_class_of_extreme_maps_without_a_warning(objectness: float, conf: float) -> None:
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        found = decode(one_cell(objectness, 200, -200), CELLS, PostprocessConfig(conf, multi_label=True))
    assert np.isfinite(found.confidence).all()
    assert len(found) == (0 if conf == 1 or objectness == -200 or (objectness < 0 < conf) else 1)


def test_a_level_of_nan_is_named() -> None:
    for channel in (4, 0):
        maps = one_cell(3, 3, 3)
        maps["p3"][0, channel] = np.nan
        for layout in ("NCHW", "NHWC"):
            given = maps["p3"] if layout == "NCHW" else maps["p3"].transpose(0, 2, 3, 1)
            with pytest.raises(NotFiniteError, match="'p3' holds NaN"):
                decode({"p3": given}, replace(CELLS, layout=layout))


@pytest.mark.parametrize("p", [0.001, 0.1, 0.25, 0.5, 0.9])
def test_the_floor_is_a_thousandth_below_the_logit(p: float) -> None:
    assert float(np.log(p / (1 - p)) - logit_floor(p)) == pytest.approx(1e-3, rel=0.01)


def test_the_floor_near_1_lies_below_every_logit_that_passes() -> None:
    """There float32 resolves the sigmoid, not the logit: many logits share a sigmoid."""
    x = np.linspace(8, 18, 20_001).astype(np.float32)
    just_below = np.nextafter(sigmoid(x).astype(np.float64), 0)
    assert (x > logit_floor(just_below)).all()


def test_the_floor_of_1_and_beyond_is_finite() -> None:
    """A class would have to be surer than it can be where objectness is below the threshold."""
    with np.errstate(all="raise"):
        floor = logit_floor([1.0, 1.5, 1e30])
    assert np.isfinite(floor).all()
    assert (floor > 10).all()
    assert logit_floor(0) == -np.inf


def test_sigmoid_of_either_sign_stays_in_its_type() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        x = np.array([-3, -1, 0, 1, 3], dtype)
        assert sigmoid(x).dtype == dtype
        assert np.allclose(sigmoid(x) + sigmoid(-x), 1, atol=1e-3)
        assert sigmoid(x)[2] == 0.5


# --- what passes ---


def test_scores_pass_above_the_threshold_and_of_wanted_classes() -> None:
    labels, scores = np.array([0, 1, 2, 0]), np.float32([0.25, ABOVE, 0.9, 0.9])
    assert passing(labels, scores, 3, DISPLAY).tolist() == [False, True, True, True]
    wanted = replace(DISPLAY, classes=(0, 2))
    assert passing(labels, scores, 3, wanted).tolist() == [False, False, True, True]


@pytest.mark.parametrize(("wanted", "unknown"), [((-1, 0), "[-1]"), ((0, 3), "[3]"), ((0, 2), None)])
def test_classes_of_the_network_may_be_asked_for(wanted: tuple[int, ...], unknown: Any) -> None:
    config = replace(DISPLAY, classes=wanted)
    if unknown is None:
        assert passing(np.array([2]), np.float32([0.9]), 3, config).all()
        return
    with pytest.raises(UsageError) as told:
        passing(np.array([0]), np.float32([0.9]), 3, config)
    assert f"classes={unknown}: the network has the classes 0 to 2" in str(told.value)


@pytest.mark.parametrize("count", range(1, 7))
def test_best_candidates_keep_their_order(count: int) -> None:
    scores = np.float32([0.5, 0.9, 0.5, 0.1, 0.5, 0.7])
    best = sorted(np.argsort(-scores, kind="stable")[:count].tolist())
    assert best_candidates(scores, count).tolist() == best
