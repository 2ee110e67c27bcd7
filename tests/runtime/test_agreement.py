"""Agreement of detections: what counts as a counterpart."""

from __future__ import annotations

import numpy as np

from edgeyolo.runtime.agreement import Agreement, agreement
from edgeyolo.runtime.postprocess import Boxes

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
    """Of two boxes one of which lies in the other, IoU is the share of the area."""
    for share, matched in ((0.51, 2), (0.49, 0)):
        found = agreement(boxes(([0, 0, 100, 100], 0.9, 0)), boxes(([0, 0, 100 * share, 100], 0.9, 0)))
        assert found == Agreement(matched=matched, detections=2)


def test_detections_below_the_default_confidence_are_not_asked_for() -> None:
    assert agreement(boxes((BOX, 0.24, 0)), boxes()).detections == 0
    assert agreement(boxes((BOX, 0.25, 0)), boxes()).detections == 1
