"""The bounded hand-over of frames from one thread to another."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Literal

from edgeyolo.stream.frame import Counts, Frame

Full = Literal["wait", "newer", "overflow"]


class Mailbox:
    """Frames between two threads, at most `room` of them.

    Args:
        room: most frames that wait.
        full: how a frame gets in when there is no room: "wait" for some, or in place of the oldest, which is dropped
            with the cause "newer" or "overflow".
        max_staleness: frames captured longer ago than this are dropped when taken, seconds; None takes all.
        clock: seconds, on the clock that `put` is told the moment of capture by.
    """

    def __init__(
        self,
        room: int,
        full: Full,
        *,
        max_staleness: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._room, self._full, self._max_staleness, self._clock = room, full, max_staleness, clock
        self._changed = threading.Condition()
        self._frames: deque[tuple[Frame, float]] = deque()
        self._dropped: Counter[str] = Counter()
        self._captured = 0
        self._ended = self._closed = False
        self._error: BaseException | None = None

    def arrange(self, room: int, full: Full) -> None:
        """Change the room and what happens when there is none."""
        with self._changed:
            self._room, self._full = room, full

    @property
    def counts(self) -> Counts:
        """Frames put and dropped up to now."""
        with self._changed:
            return Counts(self._captured, dict(self._dropped))

    def put(self, frame: Frame, captured: float) -> bool:
        """Hand over a frame that was captured at `captured`.

        False once nobody takes any more.
        """
        with self._changed:
            if not self._closed:
                self._captured += 1
            if self._full == "wait":
                self._changed.wait_for(lambda: self._closed or len(self._frames) < self._room)
            if self._closed:
                return False
            if len(self._frames) >= self._room:
                self._frames.popleft()
                self._dropped[self._full] += 1
            self._frames.append((frame, captured))
            self._changed.notify_all()
            return True

    def drop(self, cause: str, number: int = 1, *, captured: bool = True) -> None:
        """Count frames that are not handed over.

        `captured` says that they had been captured before that.
        """
        with self._changed:
            self._dropped[cause] += number
            self._captured += number if captured else 0

    def finish(self, error: BaseException | None = None) -> None:
        """Say that no frame follows, and why where that is an error.

        The error is raised once, after the last frame.
        """
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def take(self, timeout: float | None = None) -> Frame | None:
        """The next frame; None where `timeout` seconds have passed without one.

        Raises:
            StopIteration: no frame follows. The error of `finish` comes in its place, once.
        """
        with self._changed:
            self._changed.wait_for(self._ready, timeout)
            if not self._closed:
                self._drop_stale()
                if self._frames:
                    frame, _ = self._frames.popleft()
                    self._changed.notify_all()
                    return frame
            if self._ended or self._closed:
                error, self._error = self._error, None
                raise error or StopIteration
            return None

    def close(self) -> None:
        """Drop what waits and wake both sides."""
        with self._changed:
            self._closed, self._error = True, None
            if self._frames:
                self._dropped["closed"] += len(self._frames)
                self._frames.clear()
            self._changed.notify_all()

    def _ready(self) -> bool:
        self._drop_stale()
        return bool(self._frames) or self._ended or self._closed

    def _drop_stale(self) -> None:
        if self._max_staleness is None:
            return
        oldest = self._clock() - self._max_staleness
        before = len(self._frames)
        while self._frames and self._frames[0][1] < oldest:
            self._frames.popleft()
        if before > len(self._frames):
            self._dropped["stale"] += before - len(self._frames)
            self._changed.notify_all()
