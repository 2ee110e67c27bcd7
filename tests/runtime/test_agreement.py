"""Agreement of detections: counterparts, margins and differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeyolo.artifact.contracts import GraphDetections, InputContract, RawMaps
from edgeyolo.runtime.agreement import (
    Agreement,
    agreement,
    beyond_doubt,
    compare_detections,
    differences,
    rounding,
    up_to_rounding,
)
from edgeyolo.runtime.postprocess import Boxes
from edgeyolo.runtime.preprocess import preprocess

BOX = [10.0, 10.0, 50.0, 50.0]


def boxes(*rows: tuple[list[float], float, int]) -> Boxes:
    return Boxes(
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.int64),
    )


def test_the_same_detections_agree() -> None:
    both = boxes((BOX, 0.9, 1), ([100, 100, 120, 130], 0.4, 0))
    assert agreement(both, both).share == 1.0


def test_a_detection_at_the_edge_of_the_threshold_still_has_its_counterpart() -> None:
    found = agreement(boxes((BOX, 0.26, 0)), boxes((BOX, 0.24, 0)))
    assert found == Agreement(matched=1, detections=1)


def test_another_class_place_or_nothing_is_no_counterpart() -> None:
    one = boxes((BOX, 0.9, 0))
    for other in (boxes((BOX, 0.9, 1)), boxes(([40, 40, 90, 90], 0.9, 0))):
        assert agreement(one, other) == Agreement(matched=0, detections=2)
    assert agreement(one, boxes()) == Agreement(matched=0, detections=1)
    assert agreement(boxes(), boxes()).share is None


def test_a_counterpart_overlaps_by_half_or_more() -> None:
    """IoU of a box inside another is its share of the area."""
    for share, matched in ((0.51, 2), (0.5, 2), (0.49, 0)):
        found = agreement(boxes(([0, 0, 100, 100], 0.9, 0)), boxes(([0, 0, 100 * share, 100], 0.9, 0)))
        assert found == Agreement(matched=matched, detections=2)


def test_detections_below_the_default_confidence_are_not_asked_for() -> None:
    assert agreement(boxes((BOX, 0.24, 0)), boxes()).detections == 0
    assert agreement(boxes((BOX, 0.25, 0)), boxes()).detections == 1


def test_differences_are_of_boxes_that_meet() -> None:
    """Scores as they are, corners as parts of the side; of two that overlap alike, the nearer score is meant."""
    expected = boxes((BOX, 0.9, 0), (BOX, 0.5, 0), ([200, 200, 260, 260], 0.8, 0))
    actual = boxes(([10, 10, 50, 52], 0.52, 0), ([200, 200, 260, 260], 0.8, 1))
    found = differences(expected, actual, 400)
    assert found == {"scores": pytest.approx(0.02), "boxes": pytest.approx(2 / 400)}
    for nothing in ((boxes(), actual), (expected, boxes())):
        assert differences(*nothing, 400) == {"scores": 0.0, "boxes": 0.0}
    apart = boxes(([10, 30, 50, 70], 0.9, 0))  # IoU 1/3
    assert differences(boxes((BOX, 0.1, 0)), apart, 400) == {"scores": 0.0, "boxes": 0.0}
    half = boxes(([10, 10, 30, 50], 0.4, 0))  # IoU 1/2
    assert differences(boxes((BOX, 0.1, 0)), half, 40)["boxes"] == pytest.approx(0.5)


def test_the_largest_difference_counts_not_the_mean_nor_the_least() -> None:
    second = [100.0, 100.0, 140.0, 140.0]
    expected = boxes((BOX, 0.9, 0), (second, 0.5, 1))
    for order in ([0, 1], [1, 0]):
        actual = boxes(([10, 10, 50, 52], 0.8, 0), ([100, 100, 140, 144], 0.45, 1))[np.array(order)]
        assert differences(expected, actual, 400) == {
            "scores": pytest.approx(0.1),
            "boxes": pytest.approx(4 / 400),
        }


def test_counterpart_by_overlap_and_score() -> None:
    near, far = ([10.0, 10.0, 50.0, 49.0], 0.5, 0), (BOX, 0.9, 0)
    assert differences(boxes(near, far), boxes((BOX, 0.5, 0)), 40) == {
        "scores": 0.0,
        "boxes": pytest.approx(1 / 40),
    }
    alike = boxes((BOX, 0.5, 0), ([10.0, 10.0, 50.0, 30.0], 0.5, 0))
    assert differences(alike, boxes((BOX, 0.5, 0)), 40) == {"scores": 0.0, "boxes": 0.0}


@pytest.mark.parametrize(("score", "nearest"), [(0.6, 0.9), (0.4, 0.1)])
def test_the_nearer_score_is_meant_on_either_side(score: float, nearest: float) -> None:
    found = differences(boxes((BOX, 0.9, 0), (BOX, 0.1, 0)), boxes((BOX, score, 0)), 400)
    assert found["scores"] == pytest.approx(abs(score - nearest))


def test_another_class_is_no_counterpart_however_near() -> None:
    expected = boxes((BOX, 0.3, 1), ([10.0, 10.0, 50.0, 40.0], 0.9, 0))
    found = differences(expected, boxes((BOX, 0.5, 0)), 40)
    assert found == {"scores": pytest.approx(0.4), "boxes": pytest.approx(10 / 40)}


@pytest.mark.parametrize(("conf", "least"), [(0.25, 0.25 / 0.6), (0.9, 0.95)])
def test_least_confidence_beyond_doubt(conf: float, least: float) -> None:
    """Above the threshold by the margin, or half way to 1 where the margin would go beyond it."""
    found = boxes((BOX, least + 1e-4, 0), (BOX, least - 1e-4, 0))
    assert beyond_doubt(found, conf).confidence == pytest.approx([least + 1e-4])
    exact = boxes((BOX, 0.75, 0))
    assert len(beyond_doubt(exact, 0.5)) == 1


RAW = RawMaps(("p3",), (8,), (((16.0, 16.0),),), classes=2)
GRAPH = GraphDetections(2, conf=0.25, iou=0.45, max_det=4)
LETTERBOX = preprocess([np.zeros((32, 32, 3), np.uint8)], InputContract(32, 32))[1]


def logits(*cells: tuple[int, int, float]) -> dict[str, np.ndarray]:
    """Maps of 4 x 4 cells: a square of 16 pixels in the middle of each of `cells` (row, column, objectness)."""
    maps = np.full((1, 7, 4, 4), -8, np.float32)
    for row, column, objectness in cells:
        maps[0, :, row, column] = (0, 0, 0, 0, objectness, 8, -8)
    return {"p3": maps}


def graph(*rows: tuple[tuple[float, float, float, float], float, int]) -> dict[str, np.ndarray]:
    """Output of a graph for its detections, padded with zeros."""
    given = {
        name: np.zeros(shape, np.float32)
        for name, shape in zip(GRAPH.names, GRAPH.shapes(1, (32, 32)), strict=True)
    }
    given["count"][0, 0] = len(rows)
    for i, (box, score, label) in enumerate(rows):
        given["boxes"][0, i], given["scores"][0, i], given["labels"][0, i] = box, score, label
    return given


def test_detections_of_a_graph_beside_those_in_the_maps() -> None:
    score = 1 / (1 + np.exp(-2.0)) / (1 + np.exp(-8.0))  # objectness 2, class 8
    at = (4.0, 4.0, 20.0, 20.0)  # the cell (1, 1), whose middle is 12
    same, agreed = compare_detections(logits((1, 1, 2.0)), RAW, graph((at, score, 0)), GRAPH, LETTERBOX)
    assert same == pytest.approx({"scores": 0, "boxes": 0}, abs=1e-6)
    assert agreed == Agreement(2, 2)
    off, agreed = compare_detections(
        logits((1, 1, 2.0)), RAW, graph(((4.0, 4.0, 20.0, 21.6), score - 0.1, 0)), GRAPH, LETTERBOX
    )
    # Half of the largest logit, 8, is the unit; and the long side of the picture.
    assert off == {"scores": pytest.approx(0.1 / 4, rel=1e-4), "boxes": pytest.approx(1.6 / 32 / 4, rel=1e-4)}
    assert agreed == Agreement(2, 2)
    _, agreed = compare_detections(logits((1, 1, 2.0)), RAW, graph(), GRAPH, LETTERBOX)
    assert agreed == Agreement(0, 1), "torch is sure of one that the graph does not have"
    _, agreed = compare_detections(logits(), RAW, graph((at, score, 0)), GRAPH, LETTERBOX)
    assert agreed == Agreement(0, 1), "the graph has one that torch does not"


def test_corners_are_measured_by_the_long_side() -> None:
    wide = preprocess([np.zeros((16, 32, 3), np.uint8)], InputContract(32, 32))[1]
    found = graph(((4.0, 9.6, 20.0, 20.0), scored(2.0), 0))
    off, _ = compare_detections(logits((1, 1, 2.0)), RAW, found, GRAPH, wide)
    assert off["boxes"] == pytest.approx(1.6 / 32 / 4, rel=1e-4)


def scored(logit: float) -> float:
    """Confidence of a cell of `logits` with that objectness."""
    return float(1 / (1 + np.exp(-logit)) / (1 + np.exp(-8.0)))


def test_a_detection_at_the_edge_of_the_threshold_is_looked_for_with_a_margin() -> None:
    """Torch's score of 0.2 is below the threshold of 0.25 and above 0.6 of it; 0.14 is not."""
    for logit, matched in ((-1.38, 1), (-1.8, 0)):
        maps, at = logits((1, 1, logit)), (4.0, 4.0, 20.0, 20.0)
        _, agreed = compare_detections(maps, RAW, graph((at, 0.26, 0)), GRAPH, LETTERBOX)
        assert agreed == Agreement(matched, 1)


def test_no_detection_is_missed_that_scores_less_than_the_last_of_a_full_graph() -> None:
    """Torch has a fifth of 0.45, and the graph's fourth and last row scores 0.5; with room left, both are lost."""
    cells = [(0, 0, 3.0), (0, 2, 3.0), (2, 0, 3.0), (2, 2, 0.0)]
    maps = logits(*cells, (3, 3, -0.2))
    rows = [
        ((8.0 * x - 4, 8.0 * y - 4, 8.0 * x + 12, 8.0 * y + 12), scored(logit), 0) for y, x, logit in cells
    ]
    clipped = [(tuple(np.clip(box, 0, 32).tolist()), score, label) for box, score, label in rows]
    _, full = compare_detections(maps, RAW, graph(*clipped), GRAPH, LETTERBOX)
    assert full == Agreement(7, 7)
    _, room = compare_detections(maps, RAW, graph(*clipped[:3]), GRAPH, LETTERBOX)
    assert room == Agreement(6, 8)


def row_of_squares(*columns: int) -> list[tuple[tuple[float, float, float, float], float, int]]:
    """Detections in cells of the second row that all score alike."""
    return [((8.0 * x - 4, 4.0, 8.0 * x + 12, 20.0), scored(2.0), 0) for x in columns]


def test_of_equal_scores_either_may_stay() -> None:
    """Four squares in a row, each a third over the next: the host keeps the first and third, a graph the others."""
    strict = replace(GRAPH, iou=0.3)
    maps = logits(*((1, x, 2.0) for x in range(4)))
    for columns in ((0, 2), (1, 3), (0, 3)):
        worst, agreed = compare_detections(maps, RAW, graph(*row_of_squares(*columns)), strict, LETTERBOX)
        assert agreed == Agreement(4, 4), columns
        assert worst == pytest.approx({"scores": 0, "boxes": 0}, abs=1e-6)
    _, agreed = compare_detections(maps, RAW, graph(*row_of_squares(0)), strict, LETTERBOX)
    assert agreed == Agreement(2, 3), "the third square overlaps none that stayed"
    _, agreed = compare_detections(maps, RAW, graph(*row_of_squares(1, 3)), GRAPH, LETTERBOX)
    assert agreed == Agreement(4, 6), "a third is less than suppression asks for"
    none = replace(GRAPH, iou=0.0)
    _, agreed = compare_detections(maps, RAW, graph(*row_of_squares(3)), none, LETTERBOX)
    assert agreed == Agreement(2, 3), "squares that do not touch are no counterparts, whatever the threshold"


def test_a_graph_that_does_not_suppress_is_noticed() -> None:
    cells = logits((1, 1, 2.0), (1, 2, 1.0))
    (best,), over = row_of_squares(1), ((12.0, 4.0, 28.0, 20.0), scored(1.0), 0)
    for iou, counted in ((0.45, (4, 4)), (0.3, (3, 3)), (0.2, (2, 3))):
        given = graph(best, over)
        _, agreed = compare_detections(cells, RAW, given, replace(GRAPH, iou=iou), LETTERBOX)
        assert agreed == Agreement(*counted), iou


def test_deviations_are_the_worst_of_all_images_and_parts_of_the_largest_logit() -> None:
    raw = RawMaps(("p3", "p4"), (8, 16), (((16.0, 16.0),), ((16.0, 16.0),)), classes=2)
    at, score = (4.0, 4.0, 20.0, 20.0), scored(2.0)
    for order in ([0, 1], [1, 0]):
        graphs = [graph((at, score - 0.2, 0)), graph((at, score - 0.1, 0))]
        given = {
            name: np.concatenate([graphs[i][name] for i in order])
            for name in ("count", "boxes", "scores", "labels")
        }
        maps = {
            "p3": np.concatenate([logits((1, 1, 2.0))["p3"]] * 2),
            "p4": np.full((2, 7, 2, 2), -16, np.float32),
        }
        worst, agreed = compare_detections(maps, raw, given, GRAPH, LETTERBOX * 2)
        assert worst == {
            "scores": pytest.approx(0.2 / 8, rel=1e-4),
            "boxes": pytest.approx(0.0, abs=1e-6),
        }
        assert agreed == Agreement(4, 4)


# --- rounding ---


def test_rounding_is_that_of_the_steps_and_of_sums_in_float32() -> None:
    """A hundred steps with three roundings by half a unit, and in each of them a sum of a thousand products."""
    assert rounding("fp16") == pytest.approx(300**0.5 * 2**-11 + 10 * 1000**0.5 * 2**-24)
    assert rounding("fp32") == pytest.approx(2**-24 * (300**0.5 + 100_000**0.5))
    assert rounding("bf16") == pytest.approx(8 * rounding("fp16"), rel=0.01)


@pytest.mark.parametrize("precision", ["int8", "w6"])
def test_what_integers_cost_is_no_rounding(precision: str) -> None:
    assert rounding(precision) == 0


def test_values_are_one_up_to_rounding_and_two_beyond() -> None:
    """A map whose mean square is 4, on both sides of a hundredth of its root."""
    expected = {"p3": np.array([[4, 0], [0, 0]], np.float32), "p4": np.full(2, 20, np.float32)}
    off = np.array([[0.0199, -0.0199], [0.0201, -0.0201]], np.float32)
    settled = up_to_rounding(expected, {"p3": expected["p3"] + off, "p4": expected["p4"] + 0.19}, 0.01)
    np.testing.assert_array_equal(settled["p3"][0], expected["p3"][0])
    np.testing.assert_array_equal(settled["p3"][1], (expected["p3"] + off)[1])
    np.testing.assert_array_equal(settled["p4"], expected["p4"])


def test_no_rounding_changes_nothing() -> None:
    expected = {"p3": np.array([1, -3], np.float32)}
    actual = {"p3": np.array([np.nextafter(np.float32(1), 2), -3], np.float32)}
    np.testing.assert_array_equal(up_to_rounding(expected, actual, 0.0)["p3"], actual["p3"])
