"""Kalman filter over boxes in continuous time, for all tracks at once.

Each of the four numbers of a box (centre x, centre y, width, height) moves with a velocity of its own that white noise
pushes about, and none knows of the others. The filter is then four filters of two states a track, whose covariances
are three numbers each: a handful of array operations, however many tracks. What time passes between two frames is
given, not assumed: predicting 0.3 s at once and in ten steps gives the same, so a dropped frame costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MotionModel:
    """Noise of motion and of measurement.

    Lengths are in heights of the box itself.

    Attributes:
        position_noise: standard deviation of a detection's centre.
        size_noise: standard deviation of a detection's width and height.
        uncertainty: variances of a detection with confidence c grow by 1 + uncertainty (1 - c).
        acceleration: white noise that changes the velocity of the centre, heights / s^1.5.
        growth: the same for the size.
        growth_memory: seconds in which a change of size is forgotten; nothing grows for long.
        speed: standard deviation of the velocity of a new track, heights/s.
        growth_speed: the same for the size.
    """

    position_noise: float = 0.04
    size_noise: float = 0.06
    uncertainty: float = 5.0
    acceleration: float = 0.4
    growth: float = 0.5
    growth_memory: float = 0.6
    speed: float = 2.0
    growth_speed: float = 0.4

    def noise(self, boxes: Array, confidence: Array) -> Array:
        """Variances (4, n) of measured boxes (4, n) with their confidence (n,)."""
        scale = np.array([self.position_noise, self.position_noise, self.size_noise, self.size_noise])
        result: Array = np.square(scale[:, None] * boxes[3]) * (1 + self.uncertainty * (1 - confidence))
        return result


@dataclass(frozen=True, eq=False)
class BoxStates:
    """Filtered boxes of n tracks.

    Attributes:
        values: (5, 4, n) float64: mean in pixels, velocity in pixels/s, variance of the mean, covariance of mean and
            velocity, variance of the velocity; each for centre x, centre y, width, height.
    """

    values: Array

    @classmethod
    def new(cls, boxes: Array, noise: Array, model: MotionModel) -> BoxStates:
        """States of objects seen once, of unknown velocity."""
        speed = np.array([model.speed, model.speed, model.growth_speed, model.growth_speed])
        values = np.zeros((5, *boxes.shape))
        values[0], values[2], values[4] = boxes, noise, np.square(speed[:, None] * boxes[3])
        return cls(values)

    @property
    def mean(self) -> Array:
        """(4, n) centre x, centre y, width, height in pixels."""
        result: Array = self.values[0]
        return result

    @property
    def variance(self) -> Array:
        """(4, n) variances of `mean`."""
        result: Array = self.values[2]
        return result

    @property
    def xyxy(self) -> Array:
        """(n, 4) corners."""
        return corners(self.mean)

    def take(self, index: NDArray[np.int64]) -> BoxStates:
        """The states of some tracks."""
        return BoxStates(self.values[:, :, index])

    def join(self, other: BoxStates) -> BoxStates:
        """These tracks followed by others."""
        return BoxStates(np.concatenate([self.values, other.values], axis=2))

    def predict(self, seconds: float, model: MotionModel) -> BoxStates:
        """The states `seconds` later."""
        if not seconds or not self.values.size:
            return self
        place = _transition(seconds, math.inf, model.acceleration)
        size = _transition(seconds, model.growth_memory, model.growth)
        step, keep, q00, q01, q11 = np.array([place, place, size, size]).T[:, :, None]
        mean, velocity, variance, covariance, velocity_variance = self.values
        scale = np.square(mean[3])
        moved = covariance + step * velocity_variance
        values = np.empty_like(self.values)
        values[0] = mean + step * velocity
        np.maximum(values[0, 2:], 1.0, out=values[0, 2:])  # a shrinking box does not turn inside out
        values[1] = keep * velocity
        values[2] = variance + step * (covariance + moved) + q00 * scale
        values[3] = keep * moved + q01 * scale
        values[4] = keep * keep * velocity_variance + q11 * scale
        return BoxStates(values)

    def correct(self, index: NDArray[np.int64], boxes: Array, noise: Array) -> BoxStates:
        """The states after a measurement of some tracks.

        Args:
            index: (m,) tracks that were measured.
            boxes: (4, m) what was measured.
            noise: (4, m) its variances.
        """
        before = self.values[:, :, index]
        spread = before[2:4]  # of the mean, and with the velocity
        gain = spread / (before[2] + noise)
        before[:2] += gain * (boxes - before[0])
        before[4] -= gain[1] * before[3]
        before[2:4] -= gain[0] * spread
        values = self.values.copy()
        values[:, :, index] = before
        return BoxStates(values)


def corners(boxes: Array) -> Array:
    """(n, 4) x1, y1, x2, y2 of (4, n) centre x, centre y, width, height."""
    half = boxes[2:] / 2
    return np.concatenate([boxes[:2] - half, boxes[:2] + half]).T


def _transition(seconds: float, memory: float, noise: float) -> tuple[float, float, float, float, float]:
    """Transition of one coordinate over some time (Ornstein-Uhlenbeck process).

    Without a memory, or for times short against it, it is the white-noise acceleration model (Bar-Shalom et al.,
    Estimation with Applications to Tracking and Navigation, section 6.2.2).

    Returns:
        How far a velocity of 1 carries, the share of it that stays, and what noise adds to the variance of the
        position, to the covariance, and to the variance of the velocity.
    """
    power = noise * noise
    if seconds < 1e-3 * memory:
        return seconds, 1.0, power * seconds**3 / 3, power * seconds**2 / 2, power * seconds
    keep = math.exp(-seconds / memory)
    step = memory * (1 - keep)
    q11 = memory / 2 * (1 - keep * keep)
    return step, keep, power * memory**2 * (seconds - 2 * step + q11), power * step * step / 2, power * q11
