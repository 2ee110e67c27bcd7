"""Histograms that can be filled in any order, merged and continued.

The result is the same to the last count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import DamagedFileError, EdgeYoloError

SIDE = 4096
"""Bins on each side of zero."""

_SMALLEST = -100  # of the exponents: tensors that are zero throughout need a bin width too
_SAMPLES = 1 << 16


@dataclass
class Histogram:
    """Distribution of one tensor's values.

    Bin i of the `2 * SIDE` ones holds the values in [(i - SIDE) * width, (i - SIDE + 1) * width), where `width` is
    the power of two `2 ** exponent`. The exponent is the smallest with which every value seen fits. Growing merges
    neighbouring pairs of bins, which is exact: the order in which values arrive does not show in the result.
    `low` and `high` are the extremes of all values; `counts` (int64) may hold a sample of them.
    """

    exponent: int = _SMALLEST
    low: float = math.inf
    high: float = -math.inf
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2 * SIDE, np.int64))

    @property
    def width(self) -> float:
        """The width of a bin, in the tensor's unit."""
        return math.ldexp(1.0, self.exponent)

    @property
    def total(self) -> int:
        """Number of counted values."""
        return int(self.counts.sum())

    @property
    def largest(self) -> float:
        """The largest absolute value seen; 0 before the first one."""
        return max(abs(self.low), abs(self.high)) if self.low <= self.high else 0.0

    def add(self, values: NDArray[np.float32], samples: int = _SAMPLES) -> None:
        """Count an array's values, of any shape.

        The extremes of all, the distribution of about `samples` of them.

        Raises EdgeYoloError where a value is infinite or no number.
        """
        flat = np.ascontiguousarray(values, dtype=np.float32).ravel()
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise EdgeYoloError("a tensor holds values that are infinite or no numbers")
        self._take(low, high)
        sample = np.ascontiguousarray(flat[:: _stride(flat.size, samples)])
        edge = SIDE * self.width
        # cvCalcHist computes in double; with a width that is a power of two, it rounds nowhere.
        counted = cv2.calcHist([sample.reshape(-1, 1)], [0], None, [2 * SIDE], [-edge, edge])
        self.counts += np.asarray(counted).ravel().astype(np.int64)

    def merge(self, other: Histogram) -> None:
        """Add another histogram's values."""
        if other.low > other.high:
            return
        self._take(other.low, other.high)
        moved = Histogram(other.exponent, other.low, other.high, other.counts.copy())
        moved._grow(self.exponent)
        self.counts += moved.counts

    def centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(k,) centres of the bins that are not empty, and (k,) their counts.

        A centre is moved inside the extremes, so that a tensor that is constant has its own value.
        """
        filled = np.flatnonzero(self.counts)
        centres = (filled - SIDE + 0.5) * self.width
        return np.clip(centres, self.low, self.high), self.counts[filled].astype(np.float64)

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object; empty bins at both ends are left out."""
        filled = np.flatnonzero(self.counts)
        start, stop = (int(filled[0]), int(filled[-1]) + 1) if filled.size else (0, 0)
        counts = self.counts[start:stop].tolist()
        return {
            "low": self.low,
            "high": self.high,
            "exponent": self.exponent,
            "start": start,
            "counts": counts,
        }

    @classmethod
    def from_json(cls, data: Any, where: str) -> Histogram:
        """Read what `to_json` gave; anything else raises DamagedFileError."""
        try:
            counts = np.zeros(2 * SIDE, np.int64)
            given = np.asarray(data["counts"], np.int64)
            counts[int(data["start"]) :][: len(given)] = given
            low, high, exponent = float(data["low"]), float(data["high"]), int(data["exponent"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DamagedFileError(f"{where}: not a histogram ({type(error).__name__}: {error})") from error
        if not low <= high or max(-low, high) > SIDE * math.ldexp(1.0, exponent) or (given < 0).any():
            raise DamagedFileError(f"{where}: a histogram of {low} to {high} does not fit its own bins")
        return cls(exponent, low, high, counts)

    def _take(self, low: float, high: float) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)
        # frexp gives the smallest power of two above the value; SIDE bins then reach up to it.
        reach = math.frexp(self.largest)[1] - (SIDE.bit_length() - 1)
        self._grow(max(reach, _SMALLEST))

    def _grow(self, exponent: int) -> None:
        while self.exponent < exponent:
            if not self.counts.any():
                self.exponent = exponent
                return
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros_like(self.counts)
            self.counts[SIDE // 2 : SIDE // 2 + SIDE] = pairs
            self.exponent += 1


def _stride(size: int, samples: int) -> int:
    """A step through `size` values that meets every row, column and channel alike.

    Coprime to the size.
    """
    step = -(-size // samples)
    while math.gcd(step, size) != 1:
        step += 1
    return step
