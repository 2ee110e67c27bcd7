"""Sources without a thread: image files, and a caller's iterables."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from edgeyolo.errors import ImageError, UsageError
from edgeyolo.runtime.images import read_image
from edgeyolo.stream.frame import Counts, Event, Frame, Listener
from edgeyolo.stream.terms import RateLimit

IMAGES_PER_SECOND = 30.0
"""Image files have no time; they count as pictures of a film."""


class ImageFiles:
    """Image files, one frame each; a frame's source is its file.

    One that cannot be read is counted as damaged and passed over; where none can, the first one's error is raised.
    """

    def __init__(
        self, paths: Sequence[Path], fps: float | None = None, on_event: Listener = lambda _: None
    ) -> None:
        self.name = str(paths[0]) if len(paths) == 1 else f"{len(paths)} images in {paths[0].parent}"
        self.total, self.fresh = len(paths), False
        self._on_event, self._rate = on_event, fps or IMAGES_PER_SECOND
        self._left = iter(enumerate(paths))
        self._read = self._damaged = 0
        self._error: ImageError | None = None
        self._closed = False

    @property
    def counts(self) -> Counts:
        """Images read and passed over up to now."""
        return Counts(self._read + self._damaged, {"damaged": self._damaged} if self._damaged else {})

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        while not self._closed:
            index, path = next(self._left, (0, None))
            if path is None:
                self._closed = True
                if self._error and not self._read:
                    raise self._error
                break
            try:
                image = read_image(path)
            except ImageError as error:
                self._damaged += 1
                self._error = self._error or error
                self._on_event(Event("damaged", str(path), index / self._rate, error.message))
                continue
            self._read += 1
            return Frame(image, index / self._rate, index, str(path))
        raise StopIteration

    def close(self) -> None:
        """Give no further frame."""
        self._closed = True


class GivenFrames:
    """Frames of a caller's iterable.

    It gives images (see `read_image`), or pairs of a time in seconds and an image.

    The time of an image alone is that of its arrival, or its number divided by `fps`.
    """

    def __init__(
        self,
        frames: Iterable[Any],
        name: str = "frames",
        *,
        fps: float | None = None,
        max_fps: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.total = len(frames) if isinstance(frames, Sequence) else None
        self.fresh = False
        self._frames, self._fps, self._clock = iter(frames), fps, clock
        self._limit = RateLimit(max_fps)
        self._index = 0
        self._dropped: Counter[str] = Counter()
        self._closed = False

    @property
    def counts(self) -> Counts:
        """Frames taken and dropped up to now."""
        return Counts(self._index, dict(self._dropped))

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        while not self._closed:
            item = next(self._frames)
            index, self._index = self._index, self._index + 1
            moment, image = self._timed(item, index)
            if self._limit.passes(moment):
                return Frame(read_image(image), moment, index, self.name)
            self._dropped["rate"] += 1
        raise StopIteration

    def close(self) -> None:
        """Give no further frame; a generator that nobody is inside of is closed."""
        self._closed = True
        close = getattr(self._frames, "close", None)
        if close is not None and not getattr(self._frames, "gi_running", False):
            close()

    def _timed(self, item: Any, index: int) -> tuple[float, Any]:
        if isinstance(item, Frame):
            return item.time, item.image
        if isinstance(item, tuple):
            if len(item) != 2 or not isinstance(item[0], Real):
                raise UsageError(
                    f"{self.name}: frame {index}: expected an image or (time in seconds, image), "
                    f"got a tuple of {len(item)}"
                )
            return float(item[0]), item[1]
        return (index / self._fps if self._fps else self._clock()), item
