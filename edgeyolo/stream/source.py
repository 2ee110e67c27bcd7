"""The contract between what gives frames and what uses them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from edgeyolo.stream.frame import Counts, Frame


@runtime_checkable
class Source(Protocol):
    """Frames one after the other. Iterating again goes on where the last loop stopped."""

    name: str

    @property
    def counts(self) -> Counts:
        """Frames captured and dropped up to now."""
        ...

    @property
    def total(self) -> int | None:
        """Number of frames there will be, where it is known.

        Of some containers it is an estimate.
        """
        ...

    @property
    def fresh(self) -> bool:
        """True if newer frames take the place of those that wait.

        A frame is then best asked for when it is needed.
        """
        ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """End the loop that reads it and release the file or device.

        From any thread; calling it again does nothing.
        """
        ...


@runtime_checkable
class TimedSource(Source, Protocol):
    """A source that can be asked for a frame without waiting for ever."""

    @property
    def live(self) -> bool | None:
        """True if frames come when they are captured, not as fast as they are read.

        None before it is opened.
        """
        ...

    def take(self, timeout: float) -> Frame | None:
        """The next frame, or None after `timeout` seconds without one.

        Raises StopIteration after the last.
        """
        ...
