"""Thresholds of a tracker."""

from __future__ import annotations

from dataclasses import dataclass

from edgeyolo.errors import UsageError


@dataclass(frozen=True)
class TrackerRules:
    """Thresholds of a tracker.

    Confidences are on the scale of `ConfidenceScale`, where clear objects have 0.94.

    Attributes:
        low: detections below are passed over.
        high: detections from here take part in the first stage; those between only prolong confirmed tracks that are
            not lost.
        low_misses: frames without a match after which a track is lost in that sense.
        new: detections from here start a track.
        evidence: a track is confirmed when the probability that all its detections are false, each with 1 minus its
            confidence, falls below e^-evidence: one of 0.99, or two of 0.9 some time apart. So is, anew, a lost
            track found in a detection that another track fits as well.
        alike_seconds: detections of one object follow one another with the same errors: one that comes this long after
            the last adds 63 % of its evidence, one right after it a quarter.
        tentative_seconds: longest gap in a track not yet confirmed.
        tentative_misses: most frames in that gap.
        fit_high, fit_low, fit_new: least fit (see `association.fit`) in the first stage, of low detections, and of
            tracks not yet confirmed.
        overlap_weight: weight of the overlap in the fit.
    """

    low: float = 0.1
    high: float = 0.8
    low_misses: int = 1
    new: float = 0.85
    evidence: float = 4.5
    alike_seconds: float = 0.1
    tentative_seconds: float = 0.8
    tentative_misses: int = 1
    fit_high: float = 0.15
    fit_low: float = 0.3
    fit_new: float = 0.4
    overlap_weight: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= self.new <= 1:
            raise UsageError(
                f"rules: expected 0 <= low <= high <= new <= 1, got {self.low}, {self.high}, {self.new}"
            )
