"""Ranges from histograms: min-max, percentile, entropy, mean squared error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import UsageError
from edgeyolo_calib.ranges.histogram import Histogram

Method = Literal["minmax", "percentile", "entropy", "mse", "learned"]
METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy", "mse")  # "learned" ones are not chosen here
Values = NDArray[np.float64]
Through = Callable[[Values], Values]

PERCENTILE = 99.999
_STEPS = 0.98 ** np.arange(160)  # shares of the full range that are tried, down to 4 %
_STRIDE = 4


@dataclass(frozen=True)
class Grid:
    """The integers that a tensor's values are put on: `low` to `high`.

    `symmetric` ones have their zero at 0.
    """

    low: int
    high: int
    symmetric: bool

    def place(self, low: float, high: float) -> tuple[np.float32, int]:
        """(scale, zero point) for values from `low` to `high`.

        Value = (integer - zero point) * scale.

        Zero itself is always on the grid (padding is exact), as in ONNX Runtime's quantizer.
        """
        low, high = min(low, 0.0), max(high, 0.0)
        if self.symmetric:
            low, high = -max(-low, high), max(-low, high)
        scale = (high - low) / (self.high - self.low)
        if scale < np.finfo(np.float32).tiny:
            return np.float32(1.0), 0
        zero = 0 if self.symmetric else round(self.low - low / scale)
        return np.float32(scale), int(np.clip(zero, self.low, self.high))

    def constants(self, low: float, high: float) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """The same as the scalar arrays that QuantizeLinear takes.

        float32, and int8 or uint8.
        """
        scale, zero = self.place(low, high)
        return np.array(scale), np.array(zero, np.int8 if self.symmetric else np.uint8)

    def round(self, values: Values, scale: float, zero: int) -> Values:
        """Quantize and dequantize values."""
        levels = np.clip(np.rint(values / scale) + zero, self.low, self.high)
        return np.asarray((levels - zero) * scale)


@dataclass(frozen=True)
class Scheme:
    """Scheme of ranges for activations.

    They have the percentile where that is the method.
    """

    method: Method = "mse"
    percentile: float = PERCENTILE


INT8 = Grid(-127, 127, symmetric=True)
UINT8 = Grid(0, 255, symmetric=False)


def choose(
    histogram: Histogram,
    grid: Grid,
    method: Method,
    *,
    percentile: float = PERCENTILE,
    through: Through | None = None,
) -> tuple[float, float]:
    """The range (low, high) that a tensor's quantizer should cover.

    Args:
        histogram: of the tensor's values; merged, where several tensors share a quantizer.
        grid: what the values will be put on.
        method: "minmax": all values. "percentile": without the outermost, half of them on each side where the grid
            is not symmetric. "entropy": least Kullback-Leibler divergence between the values before and after.
            "mse": least mean squared error.
        percentile: the share of values kept, in percent.
        through: the activation function that follows the quantizer; "mse" then measures the error behind it.
    """
    if method not in METHODS:
        raise UsageError(f"range method {method!r}: expected one of {', '.join(METHODS)}")
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if low > high or low == high or method == "minmax":
        return (low, high) if low <= high else (0.0, 0.0)
    centres, counts = histogram.centres()
    if method == "percentile":
        return _percentile(centres, counts, grid, percentile)
    if method == "entropy":
        return _entropy(centres, counts, grid, (low, high))
    return _mse(centres, counts, grid, (low, high), through)


def _percentile(centres: Values, counts: Values, grid: Grid, percentile: float) -> tuple[float, float]:
    outside = 1.0 - percentile / 100.0
    if grid.symmetric:
        bound = _quantile(np.abs(centres), counts, 1.0 - outside)
        return -bound, bound
    low, high = (_quantile(centres, counts, share) for share in (outside / 2, 1.0 - outside / 2))
    return min(low, 0.0), max(high, 0.0)


def _quantile(centres: Values, counts: Values, share: float) -> float:
    order = np.argsort(centres, kind="stable")
    sums = np.cumsum(counts[order])
    index = int(np.searchsorted(sums, share * sums[-1]))
    return float(centres[order][min(index, len(order) - 1)])


def _entropy(centres: Values, counts: Values, grid: Grid, full: tuple[float, float]) -> tuple[float, float]:
    """The share of the full range with the least divergence.

    TensorRT's criterion, on any grid.
    """
    share = _least(lambda share: _divergence(centres, counts, grid, (full[0] * share, full[1] * share)))
    return full[0] * share, full[1] * share


def _divergence(centres: Values, counts: Values, grid: Grid, bounds: tuple[float, float]) -> float:
    """Divergence KL(P || Q) of a histogram and its quantized form.

    P are the values cut at the bounds, Q the same spread evenly within each integer's bin. Q does not hold
    what was cut off; that is what cutting costs.
    """
    scale, zero = grid.place(*bounds)
    raw = np.rint(centres / float(scale)).astype(np.int64) + zero
    inside = (raw >= grid.low) & (raw <= grid.high)
    if not inside.any():
        return float("inf")
    level = np.clip(raw, grid.low, grid.high) - grid.low
    filled = np.flatnonzero(inside)
    cut = counts[filled].copy()
    cut[0] += counts[raw < grid.low].sum()
    cut[-1] += counts[raw > grid.high].sum()
    mass = np.bincount(level[filled], weights=counts[filled])
    spread = np.bincount(level[filled])
    even = mass[level[filled]] / spread[level[filled]]
    p, q = cut / cut.sum(), even / even.sum()
    return float((p * np.log(p / q)).sum())


def _mse(
    centres: Values, counts: Values, grid: Grid, full: tuple[float, float], through: Through | None
) -> tuple[float, float]:
    """Search both ends in turn (together, where the grid ties them)."""

    def error(low: float, high: float) -> float:
        scale, zero = grid.place(low, high)
        rounded = grid.round(centres, float(scale), zero)
        difference = through(rounded) - wanted if through else rounded - wanted
        return float((counts * difference * difference).sum())

    wanted = through(centres) if through else centres
    low, high = full
    if grid.symmetric:
        bound = max(-low, high)
        bound *= _least(lambda share: error(-bound * share, bound * share))
        return -bound, bound
    for _ in range(2):
        high = full[1] * _least(lambda share, low=low: error(low, full[1] * share))  # type: ignore[misc]
        low = full[0] * _least(lambda share, high=high: error(full[0] * share, high))  # type: ignore[misc]
    return low, high


def _least(cost: Callable[[float], float]) -> float:
    """The share of `_STEPS` with the least cost.

    Every fourth is tried, then those around the best of them.
    """
    costs = {number: cost(float(_STEPS[number])) for number in range(0, len(_STEPS), _STRIDE)}
    best = min(costs, key=lambda number: costs[number])
    near = range(max(0, best - _STRIDE + 1), min(len(_STEPS), best + _STRIDE))
    costs |= {number: cost(float(_STEPS[number])) for number in near if number not in costs}
    return float(_STEPS[min(costs, key=lambda number: (costs[number], number))])


def weight_scales(weight: NDArray[np.float32], *, per_channel: bool = True) -> NDArray[np.float32]:
    """Scales of a symmetric int8 weight (out channels, in channels, kh, kw).

    (out channels,), or () for one scale. They cover the largest value: a search for the range of the least squared
    error, which cuts it, gains nothing where errors cancel (`edgeyolo_calib.quantize.even_sums`).
    """
    rows = weight.reshape(weight.shape[0], -1) if per_channel else weight.reshape(1, -1)
    largest = np.abs(rows).max(axis=1).astype(np.float64)
    largest[largest == 0] = INT8.high  # any scale does for a channel of zeros
    scales = np.asarray(largest / INT8.high, np.float32)
    return scales if per_channel else scales.reshape(())
