"""Confidence measured against what the detector gives at its best."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TYPICAL = 0.94  # where the typical confidence of clear objects is moved to
_FIRST, _FIRST_WEIGHT = 0.7, 10.0  # assumed before anything was seen, as much as so many detections
_LEAST = 0.5  # detections of less than that are never taken for clear, or noise alone would become tracks
_POWER = 4  # detections count by this power of their confidence: the clear ones decide
_FORGET_S = 20.0


@dataclass(frozen=True)
class ConfidenceScale:
    """Running level of a detector's clear detections.

    One network gives a clear person 0.99, another 0.7, and a quantized one less than its original. Thresholds hold
    for all of them once confidences are multiplied so that clear detections stand at the same height.
    """

    level: float = _FIRST
    weight: float = _FIRST_WEIGHT * _FIRST**_POWER

    def learn(self, confidence: NDArray[np.float64], seconds: float) -> ConfidenceScale:
        """The scale after one more frame, `seconds` after the last."""
        powers = np.square(np.square(confidence))  # the power below, without its slow function
        kept = self.weight * math.exp(-seconds / _FORGET_S)
        weight = kept + float(powers.sum())
        if weight < 1e-9:
            return self
        return ConfidenceScale((self.level * kept + float((powers * confidence).sum())) / weight, weight)

    def apply(self, confidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Confidences on the common scale, 0 to 0.999."""
        return np.minimum(confidence * (_TYPICAL / min(max(self.level, _LEAST), _TYPICAL)), 0.999)
