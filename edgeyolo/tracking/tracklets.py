"""Memory of a tracker: everything it knows of each track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeyolo.tracking.association import Array, IndexArray
from edgeyolo.tracking.kalman import BoxStates, MotionModel

TENTATIVE = 0  # in place of an identity


@dataclass(frozen=True, eq=False)
class Tracklets:
    """All tracks that a tracker knows, also lost ones and those not yet confirmed.

    Attributes:
        states: filtered boxes of n tracks.
        track_id: (n,) from 1; TENTATIVE before a track is confirmed.
        class_id: (n,).
        seen: (n,) time of the last match in seconds.
        missed: (n,) frames since then.
        evidence: (n,) minus the logarithm of the probability that all its detections are false.
    """

    states: BoxStates
    track_id: IndexArray
    class_id: IndexArray
    seen: Array
    missed: IndexArray
    evidence: Array

    def predict(self, seconds: float, model: MotionModel) -> Tracklets:
        """The tracks `seconds` later."""
        states = self.states.predict(seconds, model)
        return Tracklets(states, self.track_id, self.class_id, self.seen, self.missed, self.evidence)

    def take(self, index: IndexArray) -> Tracklets:
        """Some of the tracks."""
        return Tracklets(
            self.states.take(index), self.track_id[index], self.class_id[index],
            self.seen[index], self.missed[index], self.evidence[index],
        )  # fmt: skip

    def join(self, other: Tracklets) -> Tracklets:
        """These tracks followed by others."""
        return Tracklets(
            self.states.join(other.states),
            np.concatenate([self.track_id, other.track_id]),
            np.concatenate([self.class_id, other.class_id]),
            np.concatenate([self.seen, other.seen]),
            np.concatenate([self.missed, other.missed]),
            np.concatenate([self.evidence, other.evidence]),
        )
