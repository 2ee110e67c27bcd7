"""A picture of a source with its moment of capture, and events of sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeyolo.runtime.planes import PlanarImage

Pixels: TypeAlias = NDArray[np.uint8]

Policy = Literal["auto", "every", "freshest"]
"""Frames that are passed on: every one, or the newest only while the reader is busy; auto: files every one, cameras
the newest."""

Happening = Literal[
    "connected", "disconnected", "unreachable", "silent", "waiting", "resized", "damaged", "replaced"
]


class Frame:
    """One picture of a source.

    Attributes:
        image: (height, width, 3) uint8, BGR, upright.
        time: seconds of its capture: of films their own time from the first frame on, of cameras the clock that
            `time.monotonic` reads.
        index: its number in the source from 0 on; numbers of dropped frames are left out, not given again.
        source: name of the source: a file's path, a camera's address without its password.
        held: the picture as it is held: `image`, or the planes of video that `image` is made of when asked for.
    """

    __slots__ = ("_image", "held", "index", "source", "time")

    def __init__(self, image: Pixels | PlanarImage, time: float, index: int, source: str) -> None:
        self.held: Pixels | PlanarImage = image
        self.time, self.index, self.source = time, index, source
        self._image: Pixels | None = None if isinstance(image, PlanarImage) else image

    @property
    def image(self) -> Pixels:
        """The picture (height, width, 3) uint8, BGR, upright."""
        if self._image is None:
            self._image = self.held.to_bgr() if isinstance(self.held, PlanarImage) else self.held
        return self._image

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.held.shape[0], self.held.shape[1]

    def __repr__(self) -> str:
        return f"<Frame {self.index} of {self.source}, {self.size[1]} x {self.size[0]} at {self.time:.3f} s>"


@dataclass(frozen=True)
class Event:
    """Something that happened to a source.

    Attributes:
        kind: connected, disconnected (the stream ended or broke), unreachable, silent (no frame for too long), waiting
            (before the next attempt), resized (the pictures changed their size), damaged (something could not be
            decoded and was passed over), replaced (a camera's driver hangs; another reader has taken over).
        source: name of the source.
        time: seconds of the source's clock.
        detail: one phrase for people.
    """

    kind: Happening
    source: str
    time: float
    detail: str = ""


Listener: TypeAlias = Callable[[Event], object]


@dataclass(frozen=True)
class Counts:
    """Frames of a source up to now.

    Attributes:
        captured: frames that were captured and decoded.
        dropped: frames that were not passed on, by cause: newer (a newer one took its place), stale (older than
            `max_staleness`), overflow (the queue of a camera with policy `every` was full), rate (above `max_fps`),
            damaged (not decodable), closed (in the queue when the source was closed).
    """

    captured: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Dropped frames, all causes together."""
        return sum(self.dropped.values())

    def __add__(self, other: Counts) -> Counts:
        causes = dict(self.dropped)
        for cause, number in other.dropped.items():
            causes[cause] = causes.get(cause, 0) + number
        return Counts(self.captured + other.captured, causes)

    def __str__(self) -> str:
        causes = ", ".join(f"{number} {cause}" for cause, number in sorted(self.dropped.items()))
        return f"{self.captured} frames" + (f", dropped {causes}" if causes else "")
