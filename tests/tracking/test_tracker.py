"""Identities through motion, gaps, low confidences, crossings and irregular time."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeyolo import Detections, Tracker, Tracks
from edgeyolo.errors import RuntimeMissingError, UsageError
from edgeyolo.tracking import TrackerRules

NAMES = ("person", "car")


def found(
    *centers: tuple[float, float],
    confidence: float | Sequence[float] = 0.95,
    class_id: int | Sequence[int] = 0,
) -> Detections:
    """Boxes of 30 x 60 pixels around centres."""
    middle = np.array(centers, np.float32).reshape(-1, 2)
    n = len(middle)
    half = np.array([15, 30], np.float32)
    return Detections(
        np.concatenate([middle - half, middle + half], axis=1),
        np.broadcast_to(np.float32(confidence), n),
        np.broadcast_to(np.int64(class_id), n),
        NAMES,
        (480, 640),
    )


def test_two_that_walk_past_each_other_keep_their_identities() -> None:
    tracker = Tracker()
    for index in range(40):
        time = index / 10
        tracks = tracker.update(found((100 + 80 * time, 200), (420 - 80 * time, 215)), time)
    assert tracks.track_id.tolist() == [1, 2]
    assert tracks.xyxy[0, 0] == pytest.approx(100 + 80 * 3.9 - 15, abs=4)
    assert tracks.xyxy[1, 0] == pytest.approx(420 - 80 * 3.9 - 15, abs=4)


@pytest.mark.parametrize("seed", range(3))
def test_irregular_times_cost_nothing_where_they_are_known(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.choice([0.03, 0.1, 0.4], 60))
    tracker, wrong = Tracker(), Tracker()
    ids, without = set(), set()
    for index, time in enumerate(times.tolist()):
        here = found((60 + 45 * time, 200), (60 + 45 * time, 330))
        ids.update(tracker.update(here, time).track_id.tolist())
        without.update(wrong.update(here, index / 1000).track_id.tolist())
    assert ids == {1, 2}
    assert len(without) > 2  # with times that are not the frames' own, jumps look impossible


def test_low_frame_rate() -> None:
    """Steps longer than a box is wide: no overlap at all between frames."""
    tracker = Tracker()
    for index in range(12):
        tracks = tracker.update(found((50 + 40 * index, 200)), index / 2)
    assert tracks.track_id.tolist() == [1]


def test_a_lost_track_is_found_again_within_its_time() -> None:
    def identity(gap: float, lost_seconds: float) -> int:
        tracker = Tracker(lost_seconds=lost_seconds)
        for index in range(20):
            tracker.update(found((100 + 4 * index, 200)), index / 10)
        empty = np.arange(0.1, gap, 0.1)
        for seconds in empty.tolist():
            assert not len(tracker.update(found(), 1.9 + seconds))
        for later in (gap, gap + 0.1, gap + 0.2):
            tracks = tracker.update(found((176 + 40 * later, 200)), 1.9 + later)
        return int(tracks.track_id[0])

    assert identity(gap=1.0, lost_seconds=2.0) == 1
    assert identity(gap=1.0, lost_seconds=0.5) == 2


def test_low_confidence_prolongs_a_track_and_starts_none() -> None:
    tracker = Tracker()
    for index in range(10):
        tracker.update(found((100, 200)), index / 10)
    for index in range(10, 20):
        tracks = tracker.update(found((100, 200), (400, 200), confidence=0.4), index / 10)
        assert tracks.track_id.tolist() == [1]
    assert tracks.confidence[0] == pytest.approx(0.4)


def test_a_track_is_given_once_there_is_evidence_for_it() -> None:
    def frames(confidence: float) -> int:
        """Frames until a detection is given an identity, when a clear object says what is clear."""
        tracker = Tracker()
        for index in range(50):
            tracker.update(found((500, 400), confidence=0.94), index / 10)
        for index in range(50, 80):
            both = found((500, 400), (100, 100), confidence=(0.94, confidence))
            if len(tracker.update(both, index / 10)) == 2:
                return index - 49
        return 99

    assert frames(0.99) == 1
    assert frames(0.88) in (2, 3)
    assert frames(0.5) == 99


def test_a_lost_track_that_may_have_another_s_detection_is_shown_once_proved_anew() -> None:
    def frames(hidden_at: float) -> int:
        """Frames from the end of a gap until both objects are given again."""
        tracker = Tracker()
        for index in range(30):
            tracker.update(found((100, 200), (hidden_at, 200), confidence=0.94), index / 10)
        for index in range(30, 34):
            tracks = tracker.update(found((100, 200), confidence=0.94), index / 10)
            assert tracks.track_id.tolist() == [1]
        for index in range(34, 40):
            tracks = tracker.update(found((100, 200), (hidden_at, 200), confidence=0.94), index / 10)
            if len(tracks) == 2:
                assert tracks.track_id.tolist() == [1, 2]
                return index - 33
        return 99

    assert frames(hidden_at=400) == 1
    assert 1 < frames(hidden_at=112) < 6


def test_a_low_confidence_does_not_find_a_lost_track() -> None:
    def shown(gap: int) -> int:
        tracker = Tracker()
        for index in range(10):
            tracker.update(found((100, 200)), index / 10)
        for index in range(10, 10 + gap):
            tracker.update(found(), index / 10)
        return len(tracker.update(found((100, 200), confidence=0.4), (10 + gap) / 10))

    assert [shown(gap) for gap in (0, 1, 2, 5)] == [1, 1, 0, 0]


def test_detections_in_quick_succession_are_less_evidence_than_the_same_over_time() -> None:
    def frames(rate: float) -> int:
        tracker = Tracker()
        for index in range(99):
            if len(tracker.update(found((100, 200), confidence=0.66), index / rate)):
                return index + 1
        return 99

    assert 1 < frames(7) < frames(60) < 12


def test_class_wise_and_agnostic() -> None:
    for agnostic, expected in ((False, 2), (True, 1)):
        tracker = Tracker(class_wise=not agnostic)
        for index in range(20):
            tracks = tracker.update(found((100, 200), class_id=index // 10), index / 10)
        assert tracks.track_id.tolist() == [expected] and tracks.class_id.tolist() == [1]
        assert tracks.names == ["car"]


def test_confidences_of_a_timid_network_give_the_same_tracks() -> None:
    def identities(factor: float) -> list[list[int]]:
        tracker = Tracker()
        centers = [(100 + 5 * index, 200, 400 - 5 * index, 260) for index in range(40)]
        return [
            tracker.update(found((a, b), (c, d), confidence=0.95 * factor), i / 10).track_id.tolist()
            for i, (a, b, c, d) in enumerate(centers)
        ]

    assert identities(0.65)[10:] == identities(1.0)[10:]
    assert identities(0.65)[-1] == [1, 2]


def test_each_tracker_counts_for_itself_and_a_copy_goes_its_own_way() -> None:
    one, other = Tracker(), Tracker()
    for index in range(5):
        one.update(found((100, 200)), index / 10)
        tracks = other.update(found((300, 200)), index / 10)
    assert tracks.track_id.tolist() == [1]
    branch = copy.copy(one)
    for index in range(5, 10):
        branch.update(found((100, 200), (300, 300)), index / 10)
    assert one.update(found((100, 200)), 1.0).track_id.tolist() == [1]
    assert branch.update(found((100, 200), (300, 300)), 1.0).track_id.tolist() == [1, 2]
    one.reset()
    assert one.update(found((9, 9), confidence=0.99), 0.0).track_id.tolist() == [1]


def test_results_do_not_depend_on_later_frames() -> None:
    rng = np.random.default_rng(0)
    frames = [found(*rng.uniform(50, 400, (5, 2)), confidence=rng.uniform(0.3, 1, 5)) for _ in range(30)]
    whole = Tracker()
    all_frames = [whole.update(frame, index / 10) for index, frame in enumerate(frames)]
    part = Tracker()
    for index, frame in enumerate(frames[:15]):
        assert part.update(frame, index / 10).to_mot(1) == all_frames[index].to_mot(1)


def test_anything_with_boxes() -> None:
    tracker = Tracker()
    boxes: Any = SimpleNamespace(xyxy=[[0, 0, 10, 20]], confidence=None, class_id=None)
    tracks = tracker.update(boxes, 0.0)
    assert isinstance(tracks, Tracks) and tracks.track_id.tolist() == [1] and tracks.names == []
    empty: Any = SimpleNamespace(xyxy=np.empty((0, 4)), confidence=np.empty(0), class_id=np.empty(0, int))
    assert len(tracker.update(empty, 0.1)) == 0


def test_boxes_without_area_and_frames_at_the_same_time() -> None:
    tracker = Tracker()
    boxes: Any = SimpleNamespace(xyxy=[[5, 5, 5, 5]], confidence=[1.0], class_id=[0])
    ids = [tracker.update(boxes, 0.0).track_id.tolist() for _ in range(3)]
    assert ids == [[1], [1], [1]]


@pytest.mark.parametrize(
    ("boxes", "confidence", "message"),
    [
        ([[10, 0, 0, 10]], [0.5], "x1 <= x2"),
        ([[0, 0, np.nan, 10]], [0.5], "finite"),
        ([[0, 0, 1, 1]], [1.5], "0 to 1"),
        ([[0, 0, 1, 1]], [np.nan], "0 to 1"),
        ([[0, 0, 1, 1]], [0.5, 0.5], r"\(1,\)"),
    ],
)
def test_boxes_that_are_none_are_refused_and_forgotten(boxes: Any, confidence: Any, message: str) -> None:
    tracker = Tracker()
    with pytest.raises(UsageError, match=message):
        tracker.update(SimpleNamespace(xyxy=boxes, confidence=confidence, class_id=None), 5.0)
    tracker.update(found((100, 100)), 0.0)  # the refused frame left nothing, not even its time


def test_time_does_not_go_back() -> None:
    tracker = Tracker()
    tracker.update(found(), 3.0)
    for time in (2.9, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="time"):
            tracker.update(found(), time)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="lost_seconds"):
        Tracker(lost_seconds=-1)
    with pytest.raises(UsageError, match="low <= high"):
        TrackerRules(low=0.9)


def test_without_scipy_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    tracker = Tracker()
    tracker.update(found((100, 100), confidence=0.99), 0.0)
    with pytest.raises(RuntimeMissingError, match="scipy") as caught:
        tracker.update(found((100, 100)), 0.1)
    assert "[video]" in caught.value.hint
