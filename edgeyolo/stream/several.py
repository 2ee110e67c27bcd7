"""Several sources as one: cameras as their frames come, films in turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence

from edgeyolo.stream.frame import Counts, Frame
from edgeyolo.stream.source import Source, TimedSource


class Several:
    """Frames of several sources, each with its source's name.

    It ends when all have ended.

    Every source waits for its last frame to be taken before it is asked for the next, so that none keeps the others
    from being read, and of a camera the newest frame is taken. An error of one ends all.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self.name = ", ".join(source.name for source in sources)
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, Frame]] = deque()
        self._asked = [threading.Semaphore(0) for _ in sources]
        self._running = 0
        self._error: BaseException | None = None
        self._started = self._closed = False

    @property
    def counts(self) -> Counts:
        """Frames captured and dropped up to now, all sources together."""
        return sum((source.counts for source in self.sources), Counts())

    @property
    def total(self) -> int | None:
        """Number of frames of all; None where one does not know."""
        totals = [source.total for source in self.sources]
        return None if None in totals else sum(total for total in totals if total is not None)

    @property
    def fresh(self) -> bool:
        """True if one of them gives its newest frames only."""
        return any(source.fresh for source in self.sources)

    @property
    def live(self) -> bool:
        """True if the frames of one come when they are captured."""
        return any(isinstance(source, TimedSource) and source.live for source in self.sources)

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        while (frame := self.take(0.25)) is None:
            pass
        return frame

    def take(self, timeout: float) -> Frame | None:
        """The next frame, or None after `timeout` seconds without one.

        Raises StopIteration after the last.
        """
        if not self._started:
            self._start()
        with self._changed:
            if not self._changed.wait_for(self._ready, timeout):
                return None
            if self._error is not None and not self._closed:
                error, self._error = self._error, None
                self._closed = True
                raise error
            if self._closed or not self._waiting:
                raise StopIteration
            number, frame = self._waiting.popleft()
        self._asked[number].release()
        return frame

    def close(self) -> None:
        """Close every source."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for asked in self._asked:
            asked.release()
        for source in self.sources:
            source.close()

    def __enter__(self) -> Several:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ready(self) -> bool:
        return bool(self._waiting) or self._closed or self._error is not None or not self._running

    def _start(self) -> None:
        self._started, self._running = True, len(self.sources)
        for number, source in enumerate(self.sources):
            threading.Thread(
                target=self._collect, args=(number, source), name=f"collect {source.name}", daemon=True
            ).start()

    def _collect(self, number: int, source: Source) -> None:
        error: BaseException | None = None
        try:
            for frame in source:
                with self._changed:
                    if self._closed:
                        return
                    self._waiting.append((number, frame))
                    self._changed.notify_all()
                self._asked[number].acquire()
        except BaseException as raised:  # noqa: BLE001 - raised where frames are taken
            error = raised
        finally:
            with self._changed:
                self._running -= 1
                self._error = self._error or error
                self._changed.notify_all()
