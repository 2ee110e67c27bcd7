"""Rounding of weights so that the errors within kernels and filters cancel.

Rounding every weight to its nearest level leaves each kernel with a sum of errors. Neighbouring pixels are alike, so in
flat parts of a picture that sum shifts the output, and in a depthwise convolution nothing averages it. So of each
kernel as many weights are moved to the level on their other side, those first that lie nearest to the middle, as
bring the sum of errors nearest to zero; then, one a kernel, of each filter (Guo et al., "SQuant: On-the-Fly Data-Free
Quantization via Diagonal Hessian Approximation", 2022, sections 3.2 and 3.3). It needs no data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo_calib.ranges.ranges import INT8

Array = NDArray[np.float64]

_AT_ONCE = 1 << 16
"""Weights that are rounded together: a dozen arrays of that size fit into a processor's cache."""

_ON_GRID = 1e-4
"""Distance from a level, in steps, that is the rounding of float32: 127 steps have some 1e-5."""


def to_nearest(weight: NDArray[Any], scales: NDArray[Any]) -> NDArray[np.float32]:
    """A weight (out, in, kh, kw) in symmetric int8, turned back to float.

    Each value is rounded to the nearest. `scales` is (out,), or () for one scale; see `weight_scales`.
    """
    steps = _steps(weight, scales)
    return np.asarray(np.rint(_levels(weight, steps)) * steps, np.float32)


def with_even_sums(weight: NDArray[Any], scales: NDArray[Any]) -> NDArray[np.float32]:
    """A weight (out, in, kh, kw) in symmetric int8, turned back to float.

    It is rounded so that errors cancel; rounding what is rounded changes nothing. `scales` is (out,), or () for one
    scale; see `weight_scales`.
    """
    rounded = np.empty(weight.shape, np.float32)
    steps = np.broadcast_to(_steps(weight, scales), (len(weight), *[1] * (weight.ndim - 1)))
    for part in _parts(weight):
        exact = _levels(weight[part], steps[part])
        rounded[part] = nearest_sums(exact, np.floor(exact), np.ceil(exact)) * steps[part]
    return rounded


def _steps(weight: NDArray[Any], scales: NDArray[Any]) -> Array:
    return np.asarray(scales, np.float64).reshape(-1, *[1] * (weight.ndim - 1))


def _levels(weight: NDArray[Any], steps: Array) -> Array:
    """Weights in steps, not rounded.

    Those that a float32 product of a step brought away from it count as on it.
    """
    exact = np.clip(weight / steps, INT8.low, INT8.high)
    near = np.rint(exact)
    return np.where(np.abs(exact - near) < _ON_GRID, near, exact)


def nearest_sums(exact: Array, below: Array, above: Array) -> Array:
    """For each weight (out, in, ...) one of the two levels around it.

    A weight that is a level itself has it for both. The largest of each filter gets its nearest level, because from
    that runtimes compute the filter's scale.
    """
    found = np.empty_like(exact)
    for part in _parts(exact):
        shape = (len(exact[part]), exact.shape[1], -1)
        rows = (each[part].reshape(shape) for each in (exact, below, above))
        found[part] = _chosen(*rows).reshape(exact[part].shape)
    return found


def _parts(weight: NDArray[Any]) -> Iterator[slice]:
    """Filters that are rounded together."""
    size = max(1, _AT_ONCE // max(weight[0].size, 1))
    return (slice(start, start + size) for start in range(0, len(weight), size))


def _chosen(exact: Array, below: Array, above: Array) -> Array:
    """The same for (filters, kernels, taps)."""
    up = above - exact < exact - below
    error = np.where(up, above, below) - exact
    gap = error - (np.where(up, below, above) - exact)  # what moving takes from a sum of errors
    cost = np.where(gap == 0, np.inf, np.abs(gap) - 2 * np.abs(error))  # the error's growth
    flat = cost.reshape(len(cost), -1)
    flat[np.arange(len(flat)), np.abs(exact).reshape(flat.shape).argmax(axis=1)] = np.inf
    moved = _moved(gap, cost, error.sum(axis=-1, keepdims=True))
    error, cost = np.where(moved, error - gap, error), np.where(moved, np.inf, cost)
    moved |= _moved_of_filter(gap, cost, error.sum(axis=(1, 2)))
    return np.where(up ^ moved, above, below)


def _moved_of_filter(gap: Array, cost: Array, total: Array) -> NDArray[np.bool_]:
    """Weights to move for each filter's `total` to come nearest to zero.

    They are at most one a kernel.
    """
    towards = np.where(gap * np.sign(total)[:, None, None] > 0, cost, np.inf)
    first = towards.argmin(axis=2)[..., None]
    gaps, costs = (np.take_along_axis(each, first, axis=2)[..., 0] for each in (gap, towards))
    moved = np.zeros(cost.shape, bool)
    np.put_along_axis(moved, first, _moved(gaps, costs, total[:, None])[..., None], axis=2)
    return moved


def _moved(gap: Array, cost: Array, total: Array) -> NDArray[np.bool_]:
    """Elements of the last axis to move for `total` (..., 1) to come nearest to zero.

    The cheapest are moved; those of infinite cost stay.
    """
    steps = gap * np.sign(total)
    cost = np.where(steps > 0, cost, np.inf)
    order = np.argsort(cost, axis=-1, kind="stable")
    steps = np.take_along_axis(np.where(np.isfinite(cost), steps, 0.0), order, axis=-1)
    left = np.abs(np.abs(total) - np.cumsum(steps, axis=-1))
    last = left.argmin(axis=-1)[..., None]
    better = np.take_along_axis(left, last, axis=-1) < np.abs(total)
    moved = np.zeros(cost.shape, bool)
    np.put_along_axis(moved, order, (np.arange(cost.shape[-1]) <= last) & better & (steps > 0), axis=-1)
    return moved
