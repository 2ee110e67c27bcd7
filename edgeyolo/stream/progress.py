"""Pace of a stream: frames a second, and latency from capture to result."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from edgeyolo.stream.frame import Counts, Frame
from edgeyolo.stream.source import Source, TimedSource

_RECENT = 1000  # frames that the latency is taken from


@dataclass(frozen=True)
class Progress:
    """A stream up to now.

    Attributes:
        frames: frames given to the caller with their detections.
        seconds: since the first one was asked for.
        latencies: seconds from capture to result of the last thousand frames, in their order; none of films, whose
            frames have no moment on our clock.
        counts: frames captured and dropped.
        total: frames there will be, where that is known.
    """

    frames: int
    seconds: float
    latencies: tuple[float, ...]
    counts: Counts
    total: int | None

    @property
    def fps(self) -> float:
        """Frames a second on the average."""
        return self.frames / self.seconds if self.seconds else 0.0

    def latency(self, share: float = 0.5) -> float | None:
        """Latency that `share` of the frames stay under, in seconds.

        None where there is none.
        """
        ordered = sorted(self.latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None

    def __str__(self) -> str:
        text = f"{self.frames} frames, {self.fps:.1f} a second"
        if (middle := self.latency()) is not None:
            text += f", latency {middle * 1e3:.0f} ms"
        if self.counts.lost:
            text += ", dropped " + ", ".join(
                f"{n} {cause}" for cause, n in sorted(self.counts.dropped.items())
            )
        return text


class Stopwatch:
    """Takes the times of a source's frames."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._began = self._last = 0.0
        self._frames = 0
        self._latencies: deque[float] = deque(maxlen=_RECENT)

    def start(self) -> None:
        """Note the moment before the first frame."""
        self._began = self._last = time.monotonic()

    def delivered(self, frame: Frame) -> None:
        """Note that a frame's result is with the caller."""
        self._last = time.monotonic()
        self._frames += 1
        if isinstance(self._source, TimedSource) and self._source.live:
            self._latencies.append(self._last - frame.time)

    def progress(self) -> Progress:
        """The stream up to now."""
        return Progress(
            self._frames,
            self._last - self._began,
            tuple(self._latencies),
            self._source.counts,
            self._source.total,
        )
