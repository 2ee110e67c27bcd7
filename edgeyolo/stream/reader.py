"""The capturing thread: opens, decodes, connects again, and hands frames over."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import closing

from edgeyolo.errors import DeniedError, SilentError, SourceError
from edgeyolo.stream.capture_clock import CaptureClock
from edgeyolo.stream.decoder import Decoder, Picture
from edgeyolo.stream.frame import Event, Frame, Happening
from edgeyolo.stream.mailbox import Mailbox
from edgeyolo.stream.terms import RateLimit, Terms

FILM_ROOM = 4
"""Decoded frames of a film that wait; its decoder waits too."""
CAMERA_ROOM = 16
"""Frames of a camera that wait with the policy `every` before the oldest is dropped: half a second at 30 a second."""

BACKLOG_S = 5.0
"""Longest time in which a camera's first frames count as gathered while the stream was looked into, in seconds."""


class Reader:
    """Body and state of the capturing thread.

    It knows nothing of the Capture that started it, so that one can be freed.

    Attributes:
        box: where frames are handed over.
        live: there is no end to the source; None before it is opened.
        total, rate: number of frames and frames a second, where the container says.
        beat: the clock when the thread last showed that it lives.
    """

    def __init__(
        self,
        name: str,
        opener: Callable[[], Decoder],
        terms: Terms,
        clock: Callable[[], float],
        live: bool | None,
    ) -> None:
        self.name = name
        self.box = Mailbox(1, "wait", max_staleness=terms.max_staleness, clock=clock)
        self.live = live
        self.total: int | None = None
        self.rate: float | None = None
        self.beat = clock()
        self._opener, self._terms, self._clock = opener, terms, clock
        self._index = 0
        self._reached = False  # by the last attempt
        self._times = CaptureClock()
        self._origin: float | None = None  # of a film's time on the clock, where it is played at its own pace
        self._limit = RateLimit(terms.max_fps)
        self._size: tuple[int, int] | None = None

    @property
    def fresh(self) -> bool:
        """True if newer frames take the place of those that wait."""
        return self._terms.policy == "freshest" or (self._terms.policy == "auto" and bool(self.live))

    def run(self, stop: threading.Event) -> None:
        """Capture until the end, or until `stop` is set.

        Errors are raised where frames are taken.
        """
        try:
            self._capture(stop)
            error: BaseException | None = None
        except BaseException as raised:  # noqa: BLE001 - the thread that takes frames raises it
            error = raised
        if not stop.is_set():
            self.box.finish(error)

    def _capture(self, stop: threading.Event) -> None:
        failures, last_frame = 0, self._clock()
        while not stop.is_set():
            before = self._index
            error = self._connection(stop)
            if error is None or stop.is_set():
                return
            if self._index > before:
                failures, last_frame = 0, self._clock()
            again = self._terms.reconnection
            if again is None or (not self._index and not again.from_start):
                raise error
            if again.give_up_after is not None and self._clock() - last_frame > again.give_up_after:
                raise error
            if not self._reached:
                self._tell("unreachable", error.message)
            del error  # its traceback keeps the lost connection's decoder, with its threads and memory
            pause = again.wait(failures, random.random())
            self._tell("waiting", f"the next attempt follows in {pause:.1f} s")
            self.beat = self._clock() + pause
            stop.wait(pause)
            failures += 1

    def _connection(self, stop: threading.Event) -> SourceError | None:
        """Read from opening to the end.

        None: no more follows; an error: it may be tried again.
        """
        self.beat = self._clock()
        try:
            decoder = self._opener()
        except DeniedError:
            raise  # again and again the same password locks an account
        except SourceError as error:
            self._reached = False
            return error
        self._reached = True
        with closing(decoder):
            if stop.is_set():
                return None
            self._arrange(decoder)
            self._tell("connected")
            try:
                self._pass_on(decoder, stop)
            except SourceError as error:
                self._tell("silent" if isinstance(error, SilentError) else "disconnected", error.message)
                return error
            return self._end(decoder)

    def _end(self, decoder: Decoder) -> SourceError | None:
        """Judge the end of the data: a film is over, a stream has broken off.

        An error says that it is to be connected again.
        """
        if not self.live:
            self._judge_end(decoder)
            return None
        self._tell("disconnected", "the stream ended")
        return SourceError(f"{self.name}: the stream ended") if self._terms.reconnection else None

    def _arrange(self, decoder: Decoder) -> None:
        self.live, self.total, self.rate = not decoder.finite, decoder.total, decoder.rate
        if self.fresh:
            self.box.arrange(1, "newer")
        else:
            # Of a camera too, at first: what gathered while the stream was looked into comes all at once.
            self.box.arrange(CAMERA_ROOM if self.live else FILM_ROOM, "wait")

    def _pass_on(self, decoder: Decoder, stop: threading.Event) -> None:
        damaged, behind = 0, True
        opened = asked = last = self._clock()
        for picture in decoder:
            now = self.beat = self._clock()
            if stop.is_set():
                return
            if behind and (now - asked > 0.5 / (decoder.rate or 30.0) or now - opened > BACKLOG_S):
                behind = False
                self._caught_up()
            if decoder.damaged > damaged:
                self._count_damage(decoder.damaged - damaged)
                damaged = decoder.damaged
            if picture is not None:
                self._hand_over(picture, decoder, now, stop)
            elif self.live and now - last > self._terms.silent_after:
                raise SilentError(f"{self.name}: data, but no picture for {self._terms.silent_after:g} s")
            asked = self._clock()
            last = asked if picture is not None else last
        self._count_damage(decoder.damaged - damaged)

    def _caught_up(self) -> None:
        """Drop a camera's oldest frame from now on where nobody takes them in time."""
        if self.live and not self.fresh:
            self.box.arrange(CAMERA_ROOM, "overflow")

    def _hand_over(self, picture: Picture, decoder: Decoder, now: float, stop: threading.Event) -> None:
        size = picture.image.shape[0], picture.image.shape[1]
        if self._size not in (None, size):
            self._tell("resized", f"the pictures are now {size[1]} x {size[0]}")
        self._size = size
        if self.live:
            moment = captured = self._times.captured(now, picture.stamp if decoder.stamped else None)
        else:
            moment = picture.stamp if picture.stamp is not None else self._index / (decoder.rate or 30.0)
            captured = self._played(moment, stop)
        index, self._index = self._index, self._index + 1
        if self._limit.passes(moment):
            self.box.put(Frame(picture.image, moment, index, self.name), captured)
        else:
            self.box.drop("rate")

    def _played(self, moment: float, stop: threading.Event) -> float:
        """Wait for a film's frame to be due, and return when it is.

        With the policy `freshest` a film plays as a camera would.
        """
        now = self._clock()
        if self._terms.policy != "freshest":
            return now
        if self._origin is None:
            self._origin = now - moment
        due = self._origin + moment
        if due > now:
            stop.wait(due - now)
        return due

    def _judge_end(self, decoder: Decoder) -> None:
        if not self._index:
            why = "none of it can be decoded" if decoder.damaged else "there is no frame in it"
            raise SourceError(f"{self.name}: {why}")
        if decoder.truncated:
            self._tell("damaged", f"the file breaks off after {self._index} frames")

    def _count_damage(self, number: int) -> None:
        if number:
            self.box.drop("damaged", number)
            self._tell("damaged", f"{number} that could not be decoded passed over")

    def _tell(self, kind: Happening, detail: str = "") -> None:
        self._terms.on_event(Event(kind, self.name, self._clock(), detail.removeprefix(f"{self.name}: ")))
