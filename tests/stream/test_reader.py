"""Connecting again, watching and giving up, with decoders that do what the test says."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from edgeyolo.errors import DeniedError, SilentError, SourceError, UsageError
from edgeyolo.stream.capture import Capture
from edgeyolo.stream.decoder import Picture
from edgeyolo.stream.frame import Event, Pixels
from edgeyolo.stream.reader import CAMERA_ROOM
from edgeyolo.stream.terms import RateLimit, Reconnection, Terms

QUICK = Reconnection(delay=0.01, longest=0.02)


@dataclass
class FakeDecoder:
    """Gives what `script` yields: a picture's time stamp, None for data without a picture, or an error to raise."""

    script: Callable[[], Iterator[float | Exception | None]]
    finite: bool = False
    stamped: bool = True
    total: int | None = None
    rate: float | None = None
    damaged: int = 0
    truncated: bool = False
    size: tuple[int, int] = (4, 6)
    closed: list[bool] = field(default_factory=list)

    def __iter__(self) -> Iterator[Picture | None]:
        for item in self.script():
            if isinstance(item, Exception):
                raise item
            yield None if item is None else Picture(self._image(), item)

    def _image(self) -> Pixels:
        return np.zeros((*self.size, 3), np.uint8)

    def close(self) -> None:
        self.closed.append(True)


def camera(
    *connections: FakeDecoder | Exception, events: list[Event] | None = None, **terms: object
) -> Capture:
    """A camera whose n-th connection is the n-th decoder, or fails; the last one again and again."""
    left = list(connections)

    def opener() -> FakeDecoder:
        decoder = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(decoder, Exception):
            raise decoder
        return decoder

    terms = {"policy": "every", "reconnection": QUICK, **terms}
    listener = (lambda _: None) if events is None else events.append
    return Capture("fake", opener, Terms(on_event=listener, **terms), live=True)  # type: ignore[arg-type]


def gives(*items: float | Exception | None, **more: object) -> FakeDecoder:
    return FakeDecoder(lambda: iter(items), **more)  # type: ignore[arg-type]


def test_a_camera_that_breaks_off_is_connected_again() -> None:
    events: list[Event] = []
    first, second, third = gives(0.0, 0.1, SourceError("cut")), gives(0.0), gives(0.0, 0.1)
    source = camera(first, SourceError("away"), second, third, DeniedError("login"), events=events)
    indices = []
    with pytest.raises(DeniedError):
        indices += [frame.index for frame in iter_until_error(source, indices)]
    assert indices == [0, 1, 2, 3, 4]
    kinds = [event.kind for event in events]
    assert kinds.count("connected") == 3
    assert kinds.count("disconnected") == 3
    assert kinds.count("unreachable") == 1
    assert kinds.count("waiting") == 4
    assert first.closed and second.closed and third.closed


def test_a_lost_connection_leaves_its_decoder_to_be_freed() -> None:
    freed, waited = threading.Event(), []

    def cut() -> Iterator[float]:
        yield 0.0
        raise SourceError("cut")

    def again() -> Iterator[float]:
        waited.append(freed.wait(5))
        yield 0.1

    lost = FakeDecoder(cut)
    weakref.finalize(lost, freed.set)
    gc.disable()  # by what refers to it, not by the collector, which comes when it comes
    try:
        with camera(lost, FakeDecoder(again)) as source:
            del lost
            assert [next(source).index, next(source).index] == [0, 1]
    finally:
        gc.enable()
    assert waited[0]


def iter_until_error(source: Capture, seen: list[int]) -> Iterator[object]:
    for frame in source:
        seen.append(frame.index)
    yield from ()


def test_a_camera_that_was_never_there_is_an_error_at_once_unless_it_is_waited_for() -> None:
    with pytest.raises(SourceError, match="away"):
        next(iter(camera(SourceError("away"))))
    patient = Reconnection(delay=0.01, longest=0.02, from_start=True)
    source = camera(SourceError("away"), SourceError("away"), gives(0.0), reconnection=patient)
    assert next(source).index == 0
    source.close()


def test_without_reconnection_the_error_ends_the_loop_and_an_end_is_an_end() -> None:
    source = camera(gives(0.0, SourceError("cut")), reconnection=None)
    assert next(source).index == 0
    with pytest.raises(SourceError, match="cut"):
        next(source)
    assert len(list(camera(gives(0.0, 0.1), reconnection=None))) == 2


def test_it_gives_up_after_the_time_that_it_was_given() -> None:
    short = Reconnection(delay=0.01, longest=0.02, give_up_after=0.1)
    source = camera(gives(0.0, SourceError("cut")), SourceError("away"), reconnection=short)
    assert next(source).index == 0
    start = time.monotonic()
    with pytest.raises(SourceError, match="away"):
        next(source)
    assert time.monotonic() - start > 0.09


def test_data_without_pictures_counts_as_silence() -> None:
    def sound() -> Iterator[float | Exception | None]:
        yield 0.0
        while True:  # sound packets, and no picture
            time.sleep(0.005)
            yield None

    events: list[Event] = []
    source = camera(FakeDecoder(sound), gives(0.5), DeniedError("end"), events=events, silent_after=0.05)
    assert [next(source).index, next(source).index] == [0, 1]
    source.close()
    assert "silent" in {event.kind for event in events}


def test_a_read_that_times_out_is_silence() -> None:
    events: list[Event] = []
    source = camera(gives(0.0, SilentError("quiet")), gives(0.1), DeniedError("end"), events=events)
    assert [next(source).index, next(source).index] == [0, 1]
    source.close()
    assert [event.detail for event in events if event.kind == "silent"] == ["quiet"]


def test_a_driver_that_hangs_is_left_alone_and_opened_again() -> None:
    hang = threading.Event()

    def hanging() -> Iterator[float | Exception | None]:
        yield 0.0
        hang.wait(20)
        yield 0.1

    class Clock:
        offset = 0.0

        def __call__(self) -> float:
            return time.monotonic() + self.offset

    clock, events = Clock(), []
    opened = [FakeDecoder(hanging), gives(0.2)]
    terms = Terms("every", reconnection=None, on_event=events.append)
    source = Capture("fake", lambda: opened.pop(0), terms, live=True, clock=clock)
    assert next(source).index == 0
    clock.offset = 3600
    assert next(source).index == 1
    assert "replaced" in {event.kind for event in events}
    hang.set()
    source.close()


def test_closing_ends_a_loop_that_waits_inside_a_read() -> None:
    hang, late = threading.Event(), threading.Event()

    def hanging() -> Iterator[float | Exception | None]:
        yield 0.0
        hang.wait(60)
        late.set()

    source = camera(FakeDecoder(hanging))
    assert next(source).index == 0
    threading.Timer(0.1, source.close).start()
    assert list(source) == []
    assert not late.is_set()
    hang.set()


def test_a_listener_that_fails_is_not_lost() -> None:
    def listener(event: Event) -> None:
        raise ZeroDivisionError("in the listener")

    source = Capture("fake", lambda: gives(0.0), Terms(on_event=listener), live=True)
    with pytest.raises(ZeroDivisionError):
        next(source)


def test_a_changed_resolution_is_told_and_goes_on() -> None:
    events: list[Event] = []
    source = camera(gives(0.0), gives(0.1, size=(8, 10)), DeniedError("end"), events=events)
    assert [next(source).size, next(source).size] == [(4, 6), (8, 10)]
    source.close()
    assert [event.detail for event in events if event.kind == "resized"] == ["the pictures are now 10 x 8"]


def test_waits_double_up_to_the_longest_less_a_share_of_chance() -> None:
    again = Reconnection(delay=0.5, longest=15, jitter=0.3)
    assert [again.wait(failures, 0) for failures in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]
    assert again.wait(2, 1) == pytest.approx(1.4)
    assert again.wait(10_000, 0) == 15


@pytest.mark.parametrize(("fps", "kept"), [(None, 60), (30, 60), (15, 30), (20, 40), (1, 2), (100, 60)])
def test_rates(fps: float | None, kept: int) -> None:
    limit = RateLimit(fps)
    assert sum(limit.passes(round(number / 30, 3)) for number in range(60)) == kept


def test_a_rate_does_not_catch_up_after_a_pause() -> None:
    limit = RateLimit(10)
    times = [0.0, 0.1, 5.0, 5.03, 5.06, 5.1, 5.2]
    assert [moment for moment in times if limit.passes(moment)] == [0.0, 0.1, 5.0, 5.1, 5.2]


def test_terms_out_of_range() -> None:
    for wrong in (
        {"policy": "newest"},
        {"max_staleness": 0},
        {"max_fps": -1},
        {"silent_after": float("nan")},
    ):
        with pytest.raises(UsageError):
            Terms(**wrong)  # type: ignore[arg-type]


def test_every_frame_that_gathered_while_a_stream_was_looked_into_is_given() -> None:
    def script() -> Iterator[float]:
        yield from (number / 30 for number in range(60))

    with camera(FakeDecoder(script, rate=30.0), policy="every", reconnection=None) as source:
        next(source)
        time.sleep(0.1)  # of a full machine: the rest is long there
        assert len(list(source)) == 59
        assert source.counts.dropped == {}


def test_a_camera_that_is_up_to_date_does_not_wait_for_a_slow_loop() -> None:
    given = threading.Event()

    def script() -> Iterator[float]:
        yield from (number / 30 for number in range(5))
        time.sleep(0.03)  # waited for: from here on it is live
        yield from (number / 30 for number in range(5, 60))
        given.set()

    with camera(FakeDecoder(script, rate=30.0), policy="every", reconnection=None) as source:
        next(source)
        assert given.wait(10)
        indices = [frame.index for frame in source]
        assert indices == list(range(60 - CAMERA_ROOM, 60))
        assert source.counts.dropped == {"overflow": 59 - CAMERA_ROOM}


def test_a_slow_loop_is_not_taken_for_a_silent_camera() -> None:
    def script() -> Iterator[float | None]:
        yield from (number / 30 for number in range(CAMERA_ROOM + 2))
        yield None

    terms = {"policy": "every", "reconnection": None, "silent_after": 0.2}
    with camera(FakeDecoder(script, rate=30.0), **terms) as source:
        next(source)
        time.sleep(0.4)
        assert len(list(source)) == CAMERA_ROOM + 1
