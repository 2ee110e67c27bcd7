"""Drawing: deterministic colours, labels inside the picture, sizes that follow the picture's."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from edgeyolo.runtime.detections import Detections
from edgeyolo.runtime.drawing import class_color, draw_detections


def detections(boxes: list[list[float]], size: tuple[int, int]) -> Detections:
    n = len(boxes)
    return Detections(boxes, np.linspace(0.9, 0.3, n), [0] * n, ("platelet", "cell"), size)


def test_colours_are_fixed_and_distinct() -> None:
    colours = [class_color(index) for index in range(80)]
    assert colours == [class_color(index) for index in range(80)]
    assert len(set(colours)) == 80
    apart = min(np.abs(np.subtract(first, second)).sum() for first, second in pairwise(colours))
    assert apart > 100, "neighbours must be easy to tell apart"


def test_the_box_is_drawn_in_the_colour_of_its_class() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    drawn = draw_detections(image, detections([[100, 100, 200, 150]], (200, 300)))
    assert tuple(drawn[150, 150]) == class_color(0)
    assert tuple(drawn[125, 200]) == class_color(0)
    assert tuple(drawn[125, 150]) == (0, 0, 0), "the object itself stays visible"
    assert not image.any()


@pytest.mark.parametrize(
    "box", [[0, 0, 40, 30], [250, 170, 299, 199], [0, 0, 299, 199], [290, 5, 299, 9], [-20, -20, 400, 400]]
)
def test_labels_stay_inside_at_every_edge(box: list[float]) -> None:
    """Wherever the box is, the label's letters are in the picture."""
    picture = np.full((200, 300, 3), 128, np.uint8)
    drawn = draw_detections(picture, detections([box], (200, 300)))
    filled = (drawn == np.array(class_color(0), np.uint8)).all(axis=2)
    ink = (drawn != 128).any(axis=2) & ~filled
    assert ink.sum() > 30


def test_lines_grow_with_the_picture() -> None:
    def thickness(scale: int) -> int:
        size = 200 * scale, 300 * scale
        found = detections([[100.0 * scale, 100.0 * scale, 200.0 * scale, 180.0 * scale]], size)
        drawn = draw_detections(np.zeros((*size, 3), np.uint8), found)
        return int((drawn[140 * scale, : 150 * scale] != 0).any(axis=1).sum())

    assert thickness(1) < thickness(4) < thickness(10)


def test_nothing_found_is_the_picture_itself() -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    drawn = draw_detections(image, Detections.empty(("cell",), (20, 30)))
    assert np.array_equal(drawn, image)
    assert drawn is not image
