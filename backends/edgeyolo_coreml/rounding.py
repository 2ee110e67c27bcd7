"""Rounding of weights so that the errors within a filter cancel.

They are rounded to what a file can hold.

Rounding every weight to its nearest level leaves each filter with a sum of errors, and since neighbouring inputs of
a filter are alike (pixels of a region, activations of one sign), that sum is what shifts its output. In float16, error
diffusion (Floyd and Steinberg 1976, there for grey levels) takes the two levels around a weight and chooses the one
that keeps the sum of errors so far nearest to zero: single errors grow up to a whole step, their sum stays below one.
Where levels are further apart, fewer weights leave their nearest level (`edgeyolo_calib.quantize.even_sums`).
Neither needs data. On a yolov7-tiny trained for 256x256 diffusion took the largest error of a score that float16
weights cause from 0.007 to 0.001; int8 and 6 bits are in benchmarks/results/weight-rounding.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo_calib.quantize.even_sums import nearest_sums

Array = NDArray[np.float64]

BITS = 6
CUTS = 256


def palette(weights: NDArray[Any]) -> Array:
    """At most 2^6 float16 values with a small squared distance to the weights.

    The values are distinct and ascending.
    """
    distinct, number = np.unique(weights.astype(np.float16), return_counts=True)
    values, counts = distinct.astype(np.float64), number.astype(np.float64)
    if len(values) <= 2**BITS:
        return values
    moments = _running(np.stack([counts, counts * values, counts * values**2]))
    centres = _iterate(values, moments, _best_among_cuts(moments[:, _cuts(values, counts)]))
    return np.unique(centres.astype(np.float16)).astype(np.float64)


def _running(rows: Array) -> Array:
    """Sums over the first i values, i from 0."""
    return np.concatenate([np.zeros((len(rows), 1)), np.cumsum(rows, axis=1)], axis=1)


def _cuts(values: Array, counts: Array) -> NDArray[np.int64]:
    """Positions in `values` that cut it into equal shares.

    The ends are included; the shares are of the cube root of the density.
    """
    mass = np.concatenate([[0.0], np.cumsum(counts)])
    edges = np.interp(np.linspace(0, mass[-1], 4 * CUTS + 1), mass, np.concatenate([values[:1], values]))
    edges = np.unique(edges)
    widths = np.diff(edges)  # each cell holds the same mass, so its density is 1 / width
    share = np.concatenate([[0.0], np.cumsum(np.cbrt(1 / widths) * widths)])
    wanted = (np.arange(CUTS) + 0.5) / CUTS * share[-1]
    inner = np.searchsorted(values, np.interp(wanted, share, edges))
    return np.unique(np.concatenate([[0], inner, [len(values)]]))


def _best_among_cuts(moments: Array) -> Array:
    """Means of the 2^6 clusters with the smallest sum of squared errors.

    The clusters are bordered by cuts.
    """
    mass, first, second = moments[:, None, :] - moments[:, :, None]  # [from, to]
    later = mass > 0
    error = np.where(later, second - first**2 / np.where(later, mass, 1.0), np.inf)
    best, borders = error[0], []
    for _ in range(min(2**BITS, len(error) - 1) - 1):
        total = best[:, None] + error
        borders.append(total.argmin(axis=0))
        best = total.min(axis=0)
    ends = [len(error) - 1]
    for border in reversed(borders):
        ends.append(int(border[ends[-1]]))
    chosen = moments[:, [0, *reversed(ends)]]
    means: Array = np.diff(chosen[1]) / np.diff(chosen[0])
    return means


def _iterate(values: Array, moments: Array, centres: Array) -> Array:
    """Lloyd's iteration.

    Every value to its nearest centre, every centre to the mean of its values.
    """
    for _ in range(100):
        borders = np.searchsorted(values, (centres[1:] + centres[:-1]) / 2)
        mass, first = np.diff(moments[:2, np.concatenate([[0], borders, [len(values)]])], axis=1)
        moved = np.where(mass > 0, first / np.maximum(mass, 1.0), centres)
        if np.allclose(moved, centres, rtol=0, atol=1e-7 * float(np.ptp(values))):
            break
        centres = moved
    return centres


def to_half(weights: NDArray[Any]) -> NDArray[np.float32]:
    """Weights (filters, ...) on float16 values."""
    exact = np.asarray(weights, np.float64)
    near = exact.astype(np.float16)
    below = np.where(near <= exact, near, np.nextafter(near, np.float16(-np.inf)))
    above = np.where(near >= exact, near, np.nextafter(near, np.float16(np.inf)))
    return _diffuse(exact, below.astype(np.float64), above.astype(np.float64))


def to_int8(weights: NDArray[Any]) -> NDArray[np.float32]:
    """Weights (filters, ...) rounded to int8 with a float16 scale per filter.

    They are on -127..127 times the scale, which the largest weight of a filter attains.
    """
    exact = np.asarray(weights, np.float64)
    rows = exact.reshape(len(exact), -1)
    scale = _stable_scale(np.abs(rows).max(axis=1)).reshape(-1, *[1] * (exact.ndim - 1))
    levels = np.clip(exact / scale, -127, 127)
    rounded = nearest_sums(exact, np.floor(levels) * scale, np.ceil(levels) * scale)
    largest = np.abs(rows).argmax(axis=1)
    flat, filters = rounded.reshape(len(exact), -1), np.arange(len(exact))
    flat[filters, largest] = np.sign(rows[filters, largest]) * 127 * scale.ravel()
    return rounded.astype(np.float32)


def to_palette(weights: NDArray[Any]) -> NDArray[np.float32]:
    """Weights (filters, ...) rounded to at most 2^6 float16 values.

    The values are the same for the whole tensor.
    """
    exact = np.asarray(weights, np.float64)
    table = palette(exact)
    upper = np.clip(np.searchsorted(table, exact), 1, max(len(table) - 1, 1))
    below, above = table[upper - 1], table[np.minimum(upper, len(table) - 1)]
    # Outside the table there is one level only.
    below = np.where(exact >= table[-1], table[-1], below)
    above = np.where(exact <= table[0], table[0], above)
    return nearest_sums(exact, below, above).astype(np.float32)


def _diffuse(exact: Array, below: Array, above: Array) -> NDArray[np.float32]:
    """Choose for each weight of each filter one of its two levels.

    It takes the weights in the order in which the filter is stored.
    """
    filters = len(exact)
    down, up = ((level - exact).reshape(filters, -1).T.copy() for level in (below, above))
    raised = np.empty(down.shape, bool)
    carried = np.zeros(filters)
    for tap, (lower, higher) in enumerate(zip(down, up, strict=True)):
        raised[tap] = np.abs(carried + higher) < np.abs(carried + lower)
        carried += np.where(raised[tap], higher, lower)
    return np.where(raised.T.reshape(exact.shape), above, below).astype(np.float32)


def _stable_scale(largest: Array) -> Array:
    """Float16 scale of each filter that its rounded weights reproduce.

    Its largest weight, 127 times the scale, gives the scale back.

    A file holds the scale in float16, and whoever quantizes float16 weights computes it as their largest / 127.
    """
    scale = np.maximum(largest / 127, 2.0**-24).astype(np.float16)
    for _ in range(8):
        attained = (scale.astype(np.float64) * 127).astype(np.float16)
        again = ((attained + attained) / np.float16(254)).astype(np.float16)
        if np.array_equal(again, scale):
            break
        scale = np.where(again == scale, scale, np.nextafter(scale, np.float16(np.inf)))
    return scale.astype(np.float64)
