"""Results of several threads, given out in the order in which their work began."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class Place(Generic[T]):
    """A place in the order.

    `results` are there once `done`, or the `error` in their place.
    """

    done: bool = False
    results: tuple[T, ...] = ()
    error: BaseException | None = None


@dataclass(eq=False)
class InOrder(Generic[T]):
    """Places are taken in order, filled in any, and given out in order again.

    The first error, in the order of places, is raised once, after all results before it; nothing follows it.
    """

    _changed: threading.Condition = field(default_factory=threading.Condition)
    _places: deque[Place[T]] = field(default_factory=deque)
    _ready: deque[T] = field(default_factory=deque)
    _error: BaseException | None = None
    _ended: bool = False
    _last: bool = False  # no further place is taken
    _waiters: list[Callable[[], object]] = field(default_factory=list)

    def place(self) -> Place[T]:
        """Take the next place."""
        place: Place[T] = Place()
        with self._changed:
            self._places.append(place)
        return place

    def fill(self, place: Place[T], *results: T, error: BaseException | None = None) -> None:
        """Put results, or an error, into a place."""
        with self._changed:
            place.done, place.results, place.error = True, results, error
            self._advance()

    def finish(self, error: BaseException | None = None) -> None:
        """Say that no further place is taken, and why where that is an error."""
        with self._changed:
            if error is not None:
                self._places.append(Place(True, (), error))
            self._last = True
            self._advance()

    def close(self) -> None:
        """Drop everything and wake who waits."""
        with self._changed:
            self._places.clear()
            self._ready.clear()
            self._error, self._ended = None, True
            self._wake()

    def take(self, timeout: float | None = None) -> T | None:
        """The next result, or None after `timeout` seconds without one.

        Raises StopIteration after the last.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended, timeout)
            if self._ready:
                return self._ready.popleft()
            if not self._ended:
                return None
            error, self._error = self._error, None
            raise error or StopIteration

    def call_when_changed(self, waiter: Callable[[], object]) -> None:
        """Call `waiter` once, in another thread, when something is ready.

        At once where something is.
        """
        with self._changed:
            if not self._ready and not self._ended:
                self._waiters.append(waiter)
                return
        waiter()

    def _advance(self) -> None:
        while self._places and self._places[0].done and not self._ended:
            place = self._places.popleft()
            self._ready.extend(place.results)
            if place.error is not None:
                self._error, self._ended = place.error, True
        if self._last and not self._places:
            self._ended = True
        if self._ready or self._ended:
            self._wake()

    def _wake(self) -> None:
        self._changed.notify_all()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter()
