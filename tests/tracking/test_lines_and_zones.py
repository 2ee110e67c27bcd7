"""Counting over a line and visits to a zone, with jitter, gaps and tracks that pass by."""

from __future__ import annotations

import numpy as np
import pytest

from edgeyolo.errors import UsageError
from edgeyolo.tracking import LineCounter, Tracks, Zone

LINE = LineCounter((100, 200), (300, 200))
ZONE = Zone(((100, 100), (300, 100), (300, 300), (100, 300)))


def at(*feet: tuple[int, float, float], time: float = 0.0, class_id: int = 0) -> Tracks:
    """Boxes of 20 x 40 pixels that stand at (x, y), each with its identity."""
    boxes = np.array([(x - 10, y - 40, x + 10, y) for _, x, y in feet], np.float32).reshape(-1, 4)
    numbers = np.array([number for number, _, _ in feet], np.int64)
    return Tracks(
        boxes, numbers, np.ones(len(feet)), np.full(len(feet), class_id), np.arange(len(feet)), (), time
    )


def walked(
    line: LineCounter, *heights: float, x: float = 200, number: int = 1, class_id: int = 0
) -> LineCounter:
    for index, y in enumerate(heights):
        line = line.update(at((number, x, y), time=index / 10, class_id=class_id))
    return line


def test_counts_in_both_directions() -> None:
    line = walked(LINE, 180, 190, 210, 220)
    assert (line.count_in, line.count_out) == (0, 1)
    line = walked(line, 220, 190, number=1)
    assert (line.count_in, line.count_out) == (1, 1)
    line = walked(line, 180, 220, number=2, class_id=7)
    assert (line.count_in, line.count_out) == (1, 2) and line.class_counts == ((0, 1, 1), (7, 0, 1))
    assert (LINE.count_in, LINE.count_out) == (0, 0)  # a value


def test_the_other_way_round_in_is_out() -> None:
    line = walked(LineCounter((300, 200), (100, 200)), 180, 220)
    assert (line.count_in, line.count_out) == (1, 0)


def test_trembling_on_the_line_counts_once() -> None:
    tremble = [200 + shift for shift in (-1.5, 1.5, -1.9, 1.9, -1, 1, 0)]
    line = walked(LINE, 180, *tremble, *tremble, 220)
    assert (line.count_in, line.count_out) == (0, 1)
    line = walked(LINE, 180, *tremble, 180)
    assert (line.count_in, line.count_out) == (0, 0)
    naive = walked(LineCounter((100, 200), (300, 200), margin=0), 180, *tremble, 220)
    assert naive.count_out > 1  # what the margin is for


def test_going_round_the_end_is_no_crossing() -> None:
    line = walked(LINE, 180, 220, x=320)
    assert (line.count_in, line.count_out) == (0, 0)


def test_a_gap_does_not_lose_a_crossing() -> None:
    line = LINE.update(at((1, 200, 180))).update(at(time=1.0)).update(at((1, 200, 230), time=2.0))
    assert line.count_out == 1
    late = LINE.update(at((1, 200, 180))).update(at(time=11.0)).update(at((1, 200, 230), time=12.0))
    assert late.count_out == 0


def test_center_instead_of_feet() -> None:
    assert walked(LineCounter((100, 200), (300, 200), anchor="center"), 200, 215).count_out == 0
    assert walked(LineCounter((100, 200), (300, 200), anchor="center"), 200, 235).count_out == 1


def test_dwell_entries_and_exits() -> None:
    zone = ZONE
    for index, x in enumerate((50, 150, 200, 250, 350)):
        zone = zone.update(at((1, x, 200), (2, 200, 200), time=index * 0.5))
    assert (zone.occupancy, zone.entries, zone.exits) == (1, 2, 1)
    assert zone.mean_dwell == pytest.approx(1.0)
    (visit,) = zone.visits
    assert (visit.track_id, visit.dwell) == (2, pytest.approx(2.0))


def test_trembling_on_the_edge_is_one_visit() -> None:
    zone = ZONE
    for index, x in enumerate((98.5, 101.5, 110, 98.5, 101.5, 98.1, 110)):
        zone = zone.update(at((1, x, 200), time=index * 0.1))
    assert (zone.occupancy, zone.entries, zone.exits) == (1, 1, 0)


def test_lost_inside() -> None:
    zone = ZONE.update(at((1, 200, 200))).update(at((1, 200, 200), time=1.0))
    assert zone.update(at(time=2.5)).occupancy == 1
    assert zone.update(at(time=2.5)).update(at((1, 210, 200), time=2.9)).entries == 1
    gone = zone.update(at(time=3.5))
    assert (gone.occupancy, gone.exits, gone.mean_dwell) == (0, 1, pytest.approx(1.0))


def test_a_polygon_with_a_notch() -> None:
    zone = Zone(((0, 0), (100, 0), (100, 100), (50, 20), (0, 100)))
    tracks = at((1, 50, 10), (2, 50, 60), (3, 10, 70), (4, 150, 20))
    assert [visit.track_id for visit in zone.update(tracks).visits] == [1, 3]


def test_bad_lines_and_zones_are_refused() -> None:
    with pytest.raises(UsageError, match="two different points"):
        LineCounter((1, 1), (1, 1))
    with pytest.raises(UsageError, match="three corners"):
        Zone(((0, 0), (1, 1)))
    with pytest.raises(UsageError, match="margin"):
        LineCounter((0, 0), (1, 1), margin=-1)
    with pytest.raises(UsageError, match="bottom or center"):
        LineCounter((0, 0), (1, 1), anchor="top").update(at((1, 0, 0)))  # type: ignore[arg-type]
