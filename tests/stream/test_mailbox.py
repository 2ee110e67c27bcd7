"""Policies, on a clock that the test turns."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from edgeyolo.errors import SourceError
from edgeyolo.stream.frame import Frame
from edgeyolo.stream.mailbox import Mailbox


class Clock:
    """A clock that stands until it is told otherwise."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def frame(number: int, moment: float = 0.0) -> Frame:
    return Frame(np.zeros((2, 2, 3), np.uint8), moment, number, "test")


def indices(box: Mailbox) -> list[int]:
    found = []
    while (each := box.take(0)) is not None:
        found.append(each.index)
    return found


def test_freshest_keeps_the_newest_only() -> None:
    box = Mailbox(1, "newer")
    for number in range(5):
        assert box.put(frame(number), 0)
    assert indices(box) == [4]
    assert box.counts.dropped == {"newer": 4}
    assert box.counts.captured == 5


def test_every_of_a_camera_drops_the_oldest_when_its_queue_is_full() -> None:
    box = Mailbox(3, "overflow")
    for number in range(5):
        box.put(frame(number), 0)
    assert indices(box) == [2, 3, 4]
    assert box.counts.dropped == {"overflow": 2}


def test_every_of_a_film_waits() -> None:
    box = Mailbox(2, "wait")
    thread = threading.Thread(target=lambda: [box.put(frame(number), 0) for number in range(5)])
    thread.start()
    taken = [box.take(5) for _ in range(5)]
    thread.join(5)
    assert [each.index for each in taken if each] == list(range(5))
    assert not box.counts.dropped


def test_stale_frames_of_a_burst_are_dropped_when_taken() -> None:
    clock = Clock(100.0)
    box = Mailbox(20, "overflow", max_staleness=0.2, clock=clock)
    for number in range(10):  # half a second of pictures that arrive together
        box.put(frame(number), 99.5 + number * 0.05)
    assert indices(box) == [6, 7, 8, 9]
    assert box.counts.dropped == {"stale": 6}
    box.put(frame(10), 100.0)
    clock.now = 100.3
    assert box.take(0) is None
    assert box.counts.dropped == {"stale": 7}


def test_an_error_comes_once_after_the_last_frame() -> None:
    box = Mailbox(4, "wait")
    box.put(frame(0), 0)
    box.finish(SourceError("broken"))
    assert indices_until(box, SourceError) == [0]
    with pytest.raises(StopIteration):
        box.take()


def indices_until(box: Mailbox, error: type[BaseException]) -> list[int]:
    found = []
    with pytest.raises(error):
        while each := box.take(0):
            found.append(each.index)
    return found


def test_closing_wakes_both_sides() -> None:
    box = Mailbox(1, "wait")
    box.put(frame(0), 0)
    results: list[object] = []
    writer = threading.Thread(target=lambda: results.append(box.put(frame(1), 0)))
    writer.start()
    box.close()
    writer.join(5)
    assert results == [False]
    with pytest.raises(StopIteration):
        box.take()
    assert box.counts.dropped == {"closed": 1}
    empty = Mailbox(1, "wait")

    def read() -> None:
        with pytest.raises(StopIteration):
            empty.take()
        results.append("ended")

    reader = threading.Thread(target=read)
    reader.start()
    empty.close()
    reader.join(5)
    assert results == [False, "ended"]
