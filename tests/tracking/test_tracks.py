"""Tracks as a value and what it turns into."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from edgeyolo.errors import RuntimeMissingError, UsageError
from edgeyolo.tracking import Tracks

TRACKS = Tracks(
    xyxy=np.array([[10.5, 20, 30, 60], [1, 2, 3, 4]]),
    track_id=np.array([3, 8]),
    confidence=np.array([0.875, 0.25]),
    class_id=np.array([1, 0]),
    detection=np.array([1, 0]),
    class_names=("person", "car"),
    time=2.5,
)


def test_types_and_that_nothing_changes_it() -> None:
    assert TRACKS.xyxy.dtype == TRACKS.confidence.dtype == np.float32
    assert TRACKS.track_id.dtype == TRACKS.class_id.dtype == TRACKS.detection.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        TRACKS.xyxy[0, 0] = 5


def test_walking_through_and_choosing() -> None:
    first, _ = TRACKS
    assert (first.track_id, first.box, first.name) == (3, (10.5, 20, 30, 60), "car")
    assert "car #3 0.88" in str(first)
    assert TRACKS[TRACKS.class_id == 0].track_id.tolist() == [8]
    assert len(TRACKS[[]]) == 0 and TRACKS[1:].time == 2.5
    assert len(Tracks.empty()) == 0 and Tracks.empty().to_boxmot().shape == (0, 8)


def test_text_of_the_mot_challenge() -> None:
    assert TRACKS.to_mot(4) == (
        "4,3,10.50,20.00,19.50,40.00,0.8750,-1,-1,-1\n4,8,1.00,2.00,2.00,2.00,0.2500,-1,-1,-1\n"
    )
    with pytest.raises(UsageError, match="from 1"):
        TRACKS.to_mot(0)


def test_boxmot_rows_and_json() -> None:
    assert TRACKS.to_boxmot().tolist()[0] == [10.5, 20, 30, 60, 3, 0.875, 1, 1]
    assert TRACKS.to_json()[1] == {
        "track_id": 8, "box": [1, 2, 3, 4], "confidence": 0.25, "class_id": 0, "name": "person",
    }  # fmt: skip


def test_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    made = TRACKS.to_supervision()
    assert made.tracker_id.tolist() == [3, 8] and made.data["class_name"].tolist() == ["car", "person"]
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(RuntimeMissingError, match="supervision"):
        TRACKS.to_supervision()


def test_mismatched_arrays_are_refused() -> None:
    two = np.array([1, 1])
    with pytest.raises(UsageError, match="each once"):
        Tracks(np.zeros((2, 4)), two, np.zeros(2), two, two)
    with pytest.raises(UsageError, match="xyxy"):
        Tracks(np.zeros((3, 4)), np.array([1, 2]), np.zeros(2), two, two)
