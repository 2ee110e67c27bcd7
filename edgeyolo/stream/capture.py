"""Films, cameras and network streams as sources, captured in a thread."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from edgeyolo.errors import SourceError
from edgeyolo.stream.decoder import Decoder
from edgeyolo.stream.frame import Counts, Event, Frame
from edgeyolo.stream.reader import Reader
from edgeyolo.stream.terms import Terms

_LOOK_S = 0.25  # a wait ends by itself so often: Ctrl-C is seen on every system, and a driver that hangs
_HUNG = 3.0  # a driver that has not answered for so many times `silent_after`, and so long as opening may take, hangs
_OPENING_S = 10.0
_MOST_HUNG = 3  # threads given up on before the source is
_JOIN_S = 0.3


class _Capturing(NamedTuple):
    thread: threading.Thread
    stop: threading.Event


class Capture:
    """Frames of one film, camera or stream, captured in a thread.

    The thread starts when the first frame is asked for.

    `live`: whether there is no end to it, where that is known before it is opened.
    """

    def __init__(
        self,
        name: str,
        opener: Callable[[], Decoder],
        terms: Terms | None = None,
        *,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._terms, self._clock = terms or Terms(), clock
        self._reader = Reader(name, opener, self._terms, clock, live)
        self._threads: list[_Capturing] = []  # the last one, and before it those that hang
        self._closed = False
        # At the end of the process too: a thread that comes back from OpenCV's C++ after it would abort it.
        self._end = weakref.finalize(self, _end, self._reader, self._threads)

    @property
    def counts(self) -> Counts:
        """Frames captured and dropped up to now."""
        return self._reader.box.counts

    @property
    def total(self) -> int | None:
        """Number of frames of a film, as far as its container says.

        None before it is opened.
        """
        return self._reader.total

    @property
    def rate(self) -> float | None:
        """Frames a second on the average, where it is known; None before it is opened."""
        return self._reader.rate

    @property
    def live(self) -> bool | None:
        """True if there is no end to it; None before it is opened."""
        return self._reader.live

    @property
    def fresh(self) -> bool:
        """True if newer frames take the place of those that wait.

        False before it is opened, where only that tells.
        """
        return self._reader.fresh

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        """The next frame; waits for it."""
        while (frame := self.take(_LOOK_S)) is None:
            self._check_driver()
        return frame

    def take(self, timeout: float) -> Frame | None:
        """The next frame, or None after `timeout` seconds without one.

        Raises StopIteration after the last.
        """
        if self._closed:
            raise StopIteration
        if not self._threads:
            self._start()
        return self._reader.box.take(timeout)

    def close(self) -> None:
        """Stop capturing.

        A thread inside a read of the network ends when that times out, and nobody waits for it.
        """
        self._closed = True
        self._end()

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        stop = threading.Event()
        thread = threading.Thread(
            target=self._reader.run, args=(stop,), name=f"capture {self.name}", daemon=True
        )
        self._threads.append(_Capturing(thread, stop))
        thread.start()

    def _check_driver(self) -> None:
        """Leave a thread that its driver does not come back to, and start another."""
        reader = self._reader
        if not reader.live or self._clock() - reader.beat < _HUNG * self._terms.silent_after + _OPENING_S:
            return
        self._threads[-1].stop.set()
        self._threads[:] = [each for each in self._threads if each.thread.is_alive()]
        if len(self._threads) > _MOST_HUNG:
            self.close()
            raise SourceError(
                f"{self.name}: the driver hangs, each of {len(self._threads)} times that it was opened"
            )
        self._terms.on_event(
            Event("replaced", self.name, self._clock(), "the driver hangs; it is opened again")
        )
        reader.beat = self._clock()
        self._start()


def _end(reader: Reader, threads: Sequence[_Capturing]) -> None:
    """Stop capturing, and wait a little for the last thread."""
    for each in threads:
        each.stop.set()
    reader.box.close()
    last = threads[-1].thread if threads else None
    if (
        last is not None and last.is_alive() and last is not threading.current_thread()
    ):  # it may not have begun
        last.join(_JOIN_S)
