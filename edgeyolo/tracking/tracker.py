"""Tracker: detections and times in, identities that stay with objects out.

ByteTrack's association in two stages (Zhang et al., ECCV 2022) over a Kalman filter in continuous time. What differs:
pairs are judged by the filter's own uncertainty beside the overlap, so that objects are found again after gaps and at
low frame rates; a track is confirmed by evidence instead of a number of frames, and once more where it was lost and
another track claims what it is found in; confidences are first put on one scale. Nothing looks ahead: what is given for
a frame is final.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import UsageError
from edgeyolo.tracking.assignment import require_solver
from edgeyolo.tracking.association import Array, IndexArray, Measured, fit, pair
from edgeyolo.tracking.confidence import ConfidenceScale
from edgeyolo.tracking.kalman import BoxStates, MotionModel
from edgeyolo.tracking.rules import TrackerRules
from edgeyolo.tracking.tracklets import TENTATIVE, Tracklets
from edgeyolo.tracking.tracks import Tracks

_NEWS = 0.25  # of its evidence, what a detection adds however soon it follows


class HasBoxes(Protocol):
    """Anything with boxes: `Detections`, or another library's."""

    @property
    def xyxy(self) -> NDArray[Any]:
        """(n, 4) corners in pixels."""

    @property
    def confidence(self) -> NDArray[Any] | None:
        """(n,) in 0..1, or None."""

    @property
    def class_id(self) -> NDArray[Any] | None:
        """(n,) integers, or None."""


class Tracker:
    """Identities of objects from frame to frame, counted from 1 by each tracker.

    All it knows is replaced, never changed in place: `copy.copy(tracker)` goes its own way from there.

    Args:
        class_wise: a track is only continued by detections of its own class. Otherwise by any, and has the class of
            its last detection: for detectors that take one kind for another.
        lost_seconds: a confirmed track that no detection matches is kept so long to be found again.
        rules: thresholds.
        motion: noise of motion and measurement.

    Raises:
        UsageError: `lost_seconds` is below 0.
        RuntimeMissingError: scipy is not installed.
    """

    def __init__(
        self,
        *,
        class_wise: bool = True,
        lost_seconds: float = 2.0,
        rules: TrackerRules | None = None,
        motion: MotionModel | None = None,
    ) -> None:
        if not 0 <= lost_seconds < math.inf:
            raise UsageError(f"lost_seconds: expected 0 or more seconds, got {lost_seconds}")
        require_solver()
        self.class_wise, self.lost_seconds = class_wise, lost_seconds
        self.rules, self.motion = rules or TrackerRules(), motion or MotionModel()
        self.reset()

    def reset(self) -> None:
        """Forget all tracks, as for another film; identities are counted from 1 again."""
        none, index = np.empty((4, 0)), np.empty(0, np.int64)
        states = BoxStates.new(none, none, self.motion)
        self._memory = Tracklets(states, index, index, np.empty(0), index, np.empty(0))
        self._scale, self._time, self._next = ConfidenceScale(), -math.inf, 1

    def update(self, detections: HasBoxes, time: float) -> Tracks:
        """Take the detections of the next frame.

        Args:
            detections: `Detections`, or anything with xyxy, confidence and class_id; the last two may be None.
            time: the frame's own time in seconds, on any clock that does not go back.

        Returns:
            The confirmed tracks that a detection of this frame matches. A track that is lost is not given, though it
            keeps its identity for `lost_seconds`; nor is one that was found where another could be, before it has as
            much evidence again as a new one.

        Raises:
            UsageError: a time before the last frame's, or arrays that do not belong together.
        """
        if not (self._time <= time < math.inf):
            raise UsageError(
                f"time: expected seconds from {self._time:.3f}, the last frame's, got {time}",
                hint="Give frames in order; use one Tracker for each source, or reset() between films.",
            )
        seconds = time - self._time if self._time > -math.inf else 0.0
        xyxy, confidence, class_id = _arrays(detections)
        self._time = time
        self._scale = self._scale.learn(confidence[confidence >= self.rules.low], seconds)
        scaled = self._scale.apply(confidence)
        size = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 1.0)  # noise is in heights, and never 0
        boxes = np.concatenate([(xyxy[:, :2] + xyxy[:, 2:]) / 2, size], axis=1).T
        measured = Measured(boxes, self.motion.noise(boxes, scaled), scaled, class_id)
        memory = self._memory.predict(seconds, self.motion)
        match, doubtful = self._associate(memory, measured)
        memory = self._matched(memory, measured, match, doubtful)
        born = self._born(measured, match)
        if len(born):
            match = np.concatenate([match, born])
            memory = memory.join(self._start(measured.take(born)))
        memory = self._confirmed(memory)
        kept = self._kept(memory)
        self._memory = memory if kept.all() else memory.take(kept.nonzero()[0])
        shown = (memory.track_id != TENTATIVE) & (memory.evidence >= self.rules.evidence)
        names = getattr(detections, "class_names", ())
        return _tracks(memory, np.where(shown, match, -1), confidence, names, time)

    def _associate(self, memory: Tracklets, measured: Measured) -> tuple[IndexArray, IndexArray]:
        """The detection of each track, -1 for none, and the doubtful tracks.

        Those were lost, and found in a detection that another track fits.
        """
        rules = self.rules
        match = np.full(len(memory.track_id), -1)
        if not len(match) or not len(measured.confidence):
            return match, np.empty(0, np.int64)
        high = (measured.confidence >= rules.high).nonzero()[0]
        low = ((measured.confidence >= rules.low) & (measured.confidence < rules.high)).nonzero()[0]
        confirmed = (memory.track_id != TENTATIVE).nonzero()[0]
        tentative = (memory.track_id == TENTATIVE).nonzero()[0]

        fitness = fit(memory.states, measured, rules.overlap_weight)
        if self.class_wise:
            fitness[memory.class_id[:, None] != measured.class_id] = 0

        free = np.ones(len(measured.confidence), np.bool_)

        def stage(tracks: IndexArray, boxes: IndexArray, least: float) -> None:
            """Match some tracks with some detections."""
            if len(tracks) and len(boxes):
                rows, columns = pair(fitness[tracks[:, None], boxes], least)
                match[tracks[rows]] = boxes[columns]
                free[boxes[columns]] = False

        stage(confirmed, high, rules.fit_high)
        waiting = confirmed[(match[confirmed] < 0) & (memory.missed[confirmed] <= rules.low_misses)]
        stage(waiting, low, rules.fit_low)
        stage(tentative, high[free[high]], rules.fit_new)
        found = confirmed[(match[confirmed] >= 0) & (memory.missed[confirmed] > 0)]
        claims = (fitness[confirmed[:, None], match[found]] >= rules.fit_high).sum(axis=0)
        claims -= fitness[found, match[found]] >= rules.fit_high  # its own
        return match, found[claims > 0]

    def _matched(
        self, memory: Tracklets, measured: Measured, match: IndexArray, doubtful: IndexArray
    ) -> Tracklets:
        """The tracks after this frame's matches.

        The doubtful ones gather their evidence anew.
        """
        index = (match >= 0).nonzero()[0]
        part = measured.take(match[index])
        seen, missed, class_id = memory.seen.copy(), memory.missed + 1, memory.class_id.copy()
        evidence = memory.evidence.copy()
        news = np.maximum(-np.expm1((memory.seen - self._time) / self.rules.alike_seconds), _NEWS)
        evidence[doubtful], news[doubtful] = 0, 1
        seen[index], missed[index], class_id[index] = self._time, 0, part.class_id
        evidence[index] += news[index] * _evidence(part)
        states = memory.states.correct(index, part.boxes, part.noise)
        return Tracklets(states, memory.track_id, class_id, seen, missed, evidence)

    def _born(self, measured: Measured, match: IndexArray) -> IndexArray:
        """Detections that start a track."""
        free = np.ones(len(measured.confidence), np.bool_)
        free[match[match >= 0]] = False
        return (free & (measured.confidence >= self.rules.new)).nonzero()[0]

    def _start(self, part: Measured) -> Tracklets:
        n = len(part.confidence)
        states = BoxStates.new(part.boxes, part.noise, self.motion)
        tentative, missed = np.full(n, TENTATIVE), np.zeros(n, np.int64)
        return Tracklets(states, tentative, part.class_id, np.full(n, self._time), missed, _evidence(part))

    def _confirmed(self, memory: Tracklets) -> Tracklets:
        """The tracks, those with enough evidence with an identity."""
        index = ((memory.track_id == TENTATIVE) & (memory.evidence >= self.rules.evidence)).nonzero()[0]
        if not len(index):
            return memory
        track_id = memory.track_id.copy()
        track_id[index] = np.arange(self._next, self._next + len(index))
        self._next += len(index)
        return replace(memory, track_id=track_id)

    def _kept(self, memory: Tracklets) -> NDArray[np.bool_]:
        lost = self._time - memory.seen
        tentative = (lost <= self.rules.tentative_seconds) & (memory.missed <= self.rules.tentative_misses)
        seen = memory.missed == 0
        kept: NDArray[np.bool_] = seen | np.where(
            memory.track_id == TENTATIVE, tentative, lost <= self.lost_seconds
        )
        return kept


def _evidence(part: Measured) -> Array:
    """Minus the logarithm of the probability that each detection is false."""
    result: Array = -np.log1p(-part.confidence)
    return result


def _tracks(
    memory: Tracklets, found: IndexArray, confidence: Array, names: tuple[str, ...], time: float
) -> Tracks:
    """The tracks of detections `found`, -1 for a track that is not shown."""
    index = (found >= 0).nonzero()[0]
    index = index[np.argsort(memory.track_id[index], kind="stable")]
    found = found[index]
    return Tracks(
        memory.states.xyxy[index].astype(np.float32), memory.track_id[index], confidence[found].astype(np.float32),
        memory.class_id[index], found, tuple(names), time,
    )  # fmt: skip


def _arrays(detections: HasBoxes) -> tuple[Array, Array, IndexArray]:
    """Boxes (n, 4), confidences (n,) and classes (n,); 1 and 0 where there are none."""
    xyxy = np.asarray(detections.xyxy, np.float64).reshape(-1, 4)
    given = detections.confidence
    confidence = np.ones(len(xyxy)) if given is None else np.asarray(given, np.float64)
    kinds = detections.class_id
    class_id = np.zeros(len(xyxy), np.int64) if kinds is None else np.asarray(kinds, np.int64)
    if confidence.shape != (len(xyxy),) or class_id.shape != (len(xyxy),):
        raise UsageError(
            f"expected confidence and class_id ({len(xyxy)},), got {confidence.shape} and {class_id.shape}"
        )
    if not np.isfinite(xyxy).all() or not (xyxy[:, 2:] >= xyxy[:, :2]).all():
        raise UsageError(
            "xyxy: expected finite corners x1 <= x2, y1 <= y2; are these boxes x, y, width, height?"
        )
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise UsageError("confidence: expected 0 to 1")
    return xyxy, confidence, class_id
