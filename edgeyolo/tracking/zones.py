"""A zone of the picture: who is in it, since when, and how many came and went."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import UsageError
from edgeyolo.tracking.lines import Anchor, anchor_points
from edgeyolo.tracking.tracks import Tracks


@dataclass(frozen=True)
class Visit:
    """One track's stay in a zone, in seconds on the tracks' clock.

    Attributes:
        track_id, class_id: whose.
        since: time of the first frame inside.
        until: time of the last frame inside so far.
    """

    track_id: int
    class_id: int
    since: float
    until: float

    @property
    def dwell(self) -> float:
        """Seconds inside."""
        return self.until - self.since


@dataclass(frozen=True)
class Zone:
    """Visits of tracks to a polygon; `update` gives the zone after one more frame.

    A visit begins when a track's point is inside by more than `margin` heights of its box and ends when it is outside
    by more, so that one on the edge does not come and go. A track that is lost inside stays a visitor for `patience`
    seconds, in which it may be found again; its dwell time ends with the frame in which it was last seen.

    Attributes:
        corners: ((x, y), ...) in pixels, at least three, either way round.
        anchor: point of a box that counts: the middle of its lower edge, or its centre.
        margin: half width of the zone's edge in heights of a box.
        patience: seconds.
        visits: those going on.
        entries, exits: counts so far; a track that was first seen inside counts as an entry.
        ended: seconds of all visits that have ended, their sum.
    """

    corners: tuple[tuple[float, float], ...]
    anchor: Anchor = "bottom"
    margin: float = 0.05
    patience: float = 2.0
    visits: tuple[Visit, ...] = ()
    entries: int = 0
    exits: int = 0
    ended: float = 0.0

    def __post_init__(self) -> None:
        corners = np.array(self.corners, np.float64)
        if (
            corners.ndim != 2
            or corners.shape[0] < 3
            or corners.shape[1] != 2
            or not np.isfinite(corners).all()
        ):
            raise UsageError(f"zone: expected at least three corners (x, y), got {self.corners}")
        if self.margin < 0 or self.patience < 0:
            raise UsageError(
                f"zone: expected margin and patience from 0, got {self.margin} and {self.patience}"
            )

    @property
    def occupancy(self) -> int:
        """Number of tracks inside."""
        return len(self.visits)

    @property
    def mean_dwell(self) -> float:
        """Mean seconds of the visits that have ended; 0 where none has."""
        return self.ended / self.exits if self.exits else 0.0

    def update(self, tracks: Tracks) -> Zone:
        """The zone after the tracks of the next frame."""
        going = {visit.track_id: visit for visit in self.visits}
        over: list[Visit] = []
        entries = self.entries
        depth = self._depth(anchor_points(tracks, self.anchor))
        edge = self.margin * (tracks.xyxy[:, 3] - tracks.xyxy[:, 1])
        rows = zip(
            tracks.track_id.tolist(), tracks.class_id.tolist(), (depth > edge).tolist(), (depth < -edge).tolist(),
            strict=True,
        )  # fmt: skip
        for number, kind, inside, outside in rows:
            visit = going.get(number)
            if visit is None and inside:
                entries += 1
                going[number] = Visit(number, kind, tracks.time, tracks.time)
            elif visit is not None and outside:
                over.append(going.pop(number))
            elif visit is not None:
                going[number] = replace(visit, until=tracks.time)
        over += [visit for visit in going.values() if tracks.time - visit.until > self.patience]
        ended = {visit.track_id for visit in over}
        return replace(
            self,
            visits=tuple(visit for visit in going.values() if visit.track_id not in ended),
            entries=entries,
            exits=self.exits + len(over),
            ended=self.ended + sum(visit.dwell for visit in over),
        )

    def _depth(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixels from the polygon's edge of each point (n, 2), positive inside: (n,)."""
        first = np.array(self.corners, np.float64)
        along = np.roll(first, -1, axis=0) - first
        offset = points[:, None, :] - first
        length = np.maximum((along**2).sum(axis=1), 1e-12)
        share = np.clip((offset * along).sum(axis=2) / length, 0, 1)
        distance = np.linalg.norm(offset - share[:, :, None] * along, axis=2).min(axis=1)
        # A ray to the right crosses the edge an odd number of times from inside.
        above = first[:, 1] > points[:, 1:]
        straddles = above != np.roll(above, -1, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            x = first[:, 0] + (points[:, 1:] - first[:, 1]) / along[:, 1] * along[:, 0]
        crossings = (straddles & (points[:, :1] < x)).sum(axis=1)
        result: NDArray[np.float64] = np.where(crossings % 2 == 1, distance, -distance)
        return result
