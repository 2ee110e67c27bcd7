"""A line across the picture that counts what crosses it, in both directions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import UsageError
from edgeyolo.tracking.tracks import Tracks

Anchor = Literal["bottom", "center"]


@dataclass(frozen=True)
class LineCounter:
    """Counts of tracks over the segment from `start` to `end`.

    A value: `update` gives the counter after one more frame. Standing at `start` and looking to `end`, a track goes
    out when it goes from the left side to the right, and in when it comes back. (In pictures y points down: on a line
    from left to right, downwards is out.)

    A track is on a side once its point is farther from the line than `margin` heights of its box, so that one that
    stands on the line and trembles is counted once at most. Where it went over must lie between the ends.

    Attributes:
        start, end: (x, y) in pixels.
        anchor: point of a box that counts: the middle of its lower edge, where objects stand, or its centre.
        margin: half width of the zone on both sides in which a track keeps its side, in heights of its box.
        forget_seconds: a track not seen for longer is forgotten.
        count_in, count_out: counts so far.
        class_counts: ((class id, in, out), ...) in the order of class ids.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    anchor: Anchor = "bottom"
    margin: float = 0.05
    forget_seconds: float = 10.0
    count_in: int = 0
    count_out: int = 0
    class_counts: tuple[tuple[int, int, int], ...] = ()
    _last: tuple[_Side, ...] = ()

    def __post_init__(self) -> None:
        numbers = (*self.start, *self.end)
        if not all(map(math.isfinite, numbers)) or tuple(self.start) == tuple(self.end):
            raise UsageError(f"line: expected two different points, got {self.start} and {self.end}")
        if self.margin < 0 or self.forget_seconds < 0:
            raise UsageError(
                f"line: expected margin and forget_seconds from 0, got {self.margin} and {self.forget_seconds}"
            )

    def update(self, tracks: Tracks) -> LineCounter:
        """The counter after the tracks of the next frame."""
        last = {side.track_id: side for side in self._last}
        counts = {kind: [ins, outs] for kind, ins, outs in self.class_counts}
        points = anchor_points(tracks, self.anchor)
        heights = tracks.xyxy[:, 3] - tracks.xyxy[:, 1]
        for number, kind, (x, y), height in zip(
            tracks.track_id.tolist(), tracks.class_id.tolist(), points.tolist(), heights.tolist(), strict=True
        ):
            distance = self._distance(x, y)
            before = last.get(number)
            if abs(distance) <= self.margin * height:  # too near to say; the side is kept
                if before is not None:
                    last[number] = replace(before, time=tracks.time)
                continue
            now = _Side(number, x, y, distance, tracks.time)
            if before is not None and before.distance * distance < 0 and self._between(before, now):
                counts.setdefault(kind, [0, 0])[distance > 0] += 1
            last[number] = now
        kept = tuple(side for side in last.values() if tracks.time - side.time <= self.forget_seconds)
        table = tuple((kind, counts[kind][0], counts[kind][1]) for kind in sorted(counts))
        return replace(
            self,
            count_in=sum(row[1] for row in table),
            count_out=sum(row[2] for row in table),
            class_counts=table,
            _last=kept,
        )

    def _distance(self, x: float, y: float) -> float:
        """Pixels from the line, positive on its right in the picture."""
        (x1, y1), (x2, y2) = self.start, self.end
        return ((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / math.hypot(x2 - x1, y2 - y1)

    def _between(self, before: _Side, now: _Side) -> bool:
        """True where the way from one side to the other lies between the line's ends."""
        share = before.distance / (before.distance - now.distance)
        x, y = before.x + share * (now.x - before.x), before.y + share * (now.y - before.y)
        (x1, y1), (x2, y2) = self.start, self.end
        along = (x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)
        return 0 <= along <= (x2 - x1) ** 2 + (y2 - y1) ** 2


@dataclass(frozen=True)
class _Side:
    """Last place of a track that was clearly on one side of the line."""

    track_id: int
    x: float
    y: float
    distance: float
    time: float


def anchor_points(tracks: Tracks, anchor: Anchor) -> NDArray[np.float64]:
    """(n, 2) x, y of the point that counts of each box."""
    if anchor not in ("bottom", "center"):
        raise UsageError(f"anchor: expected bottom or center, got {anchor!r}")
    x1, y1, x2, y2 = tracks.xyxy.astype(np.float64).T
    return np.stack([(x1 + x2) / 2, y2 if anchor == "bottom" else (y1 + y2) / 2], axis=1)
