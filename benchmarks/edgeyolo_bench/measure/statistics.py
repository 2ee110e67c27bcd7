"""The statistics of latencies.

Quantiles with exact order-statistic intervals, rates with block-bootstrap intervals, tests for trends. No
distribution is assumed and no sample is ever left out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import UsageError
from edgeyolo_bench.values.measurement import Histogram, Quantile, Rate

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 1000
_LEAST_BLOCKS = 8  # fewer say nothing about how much stretches of a run differ


def binomial_cdf(n: int, p: float) -> Floats:
    """P(X <= k) for k = 0..n of X ~ Binomial(n, p), 0 < p < 1; exact up to rounding."""
    k = np.arange(1, n + 1, dtype=np.float64)
    steps = np.log((n - k + 1) / k) + math.log(p) - math.log1p(-p)
    log_mass = n * math.log1p(-p) + np.concatenate(([0.0], np.cumsum(steps)))
    below: Floats = np.minimum(np.cumsum(np.exp(log_mass)), 1.0)
    return below


def order_interval(n: int, q: float, confidence: float = CONFIDENCE) -> tuple[int | None, int | None]:
    """Ranks (1..n) of the order statistics around a quantile.

    They are the two order statistics that hold the `q` quantile of the distribution with at least
    `confidence`, half of the risk on either side; None for an end that n samples cannot give.

    X, the number of samples below the quantile, is Binomial(n, q): the quantile lies below the sample of rank l only
    where X < l, and above that of rank u only where X >= u.
    """
    tail = (1 - confidence) / 2
    below = binomial_cdf(n, q)  # below[k] = P(X <= k)
    lower = int(np.searchsorted(below, tail, side="right"))  # the largest l with P(X <= l - 1) <= tail
    above = 1 - below[:-1]  # above[u - 1] = P(X >= u)
    enough = np.flatnonzero(above <= tail)
    upper = int(enough[0]) + 1 if len(enough) else None
    return (lower or None), upper


def least_count(q: float, confidence: float = CONFIDENCE) -> int:
    """Fewest independent samples that bound the `q` quantile on both sides.

    Its interval then has both ends.
    """
    worse = max(q, 1 - q)
    return math.ceil(math.log((1 - confidence) / 2) / math.log(worse))


def effective_count(values: Floats) -> float:
    """Number of independent samples that a series is worth.

    It is n / (1 + 2 * the sum of its autocorrelations).

    The sum ends where a pair of neighbouring autocorrelations is no longer positive (Geyer's initial positive
    sequence), and is never below zero: a series that alternates does not count for more than its length. A first
    autocorrelation that independent samples would show too (one-sided 1 %) counts as none.
    """
    n = len(values)
    centred = values - values.mean() if n else values
    power = float(centred @ centred)
    if n < 4 or power <= 0:
        return float(n)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    correlation = np.fft.irfft(spectrum * np.conj(spectrum), size)[:n] / power
    if correlation[1] < 2.33 / math.sqrt(n):
        return float(n)
    pairs = correlation[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    pairs = pairs[: negative[0]] if len(negative) else pairs
    return float(min(n, n / max(2 * pairs.sum() - 1, 1.0)))


def design_effect(values: Floats, groups: NDArray[np.int64]) -> float:
    """Design effect of clusters.

    Clusters hold fewer independent samples than samples by this factor: 1 + (m - 1) * ICC, m being the size
    of a cluster and ICC the correlation inside one (one-way analysis of variance). Never below 1.
    """
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    n, k = len(values), len(sizes)
    if k < 2 or n <= k:
        return 1.0
    means = np.bincount(index, values) / sizes
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (k - 1)
    within = float(((values - means[index]) ** 2).sum()) / (n - k)
    size = (n - float((sizes**2).sum()) / n) / (k - 1)
    spread = between + (size - 1) * within
    return 1 + (n / k - 1) * max((between - within) / spread, 0.0) if spread > 0 else 1.0


def quantile(
    samples: Floats, q: float, confidence: float = CONFIDENCE, groups: NDArray[np.int64] | None = None
) -> Quantile:
    """The `q` quantile of samples in the order they were taken, with its interval.

    The value is the order statistic of rank ceil(q * n). Queries that follow each other are not independent; the
    interval counts only as many samples as they are worth at this quantile (`effective_count` of being above it), so
    that for independent samples it is the exact one. `groups` (n,) numbers the process each sample was taken in: what
    differs between processes widens the interval.
    """
    n = len(samples)
    if not n or not 0 < q < 1:
        raise UsageError(f"quantile {q:g} of {n} samples: expected at least one sample and 0 < q < 1")
    ordered = np.sort(samples)
    value = float(ordered[max(math.ceil(q * n - 1e-9), 1) - 1])
    above = (samples > value).astype(np.float64)
    worth = effective_count(above)
    if groups is not None:
        worth = min(worth, n / design_effect(above, groups))
    worth = max(int(worth), 1)
    low, high = order_interval(worth, q, confidence)
    stretch = (n + 1) / (worth + 1)
    return Quantile(
        q=q,
        value=value,
        low=None if low is None else float(ordered[max(math.floor(low * stretch), 1) - 1]),
        high=None if high is None else float(ordered[min(math.ceil(high * stretch), n) - 1]),
        confidence=confidence,
        reportable=low is not None and high is not None,
        effective=worth,
    )


def rate(
    seconds: Floats, images: int, confidence: float = CONFIDENCE, *, processes: int = 1, seed: int = 0
) -> Rate:
    """Images a second with a circular block bootstrap.

    Queries of `images` images took `seconds`.

    Blocks keep neighbouring queries together; they are at least as long as queries depend on each other, and of the
    length of a process where there were several.
    """
    n = len(seconds)
    if not n:
        raise UsageError("rate: expected at least one query")
    value = images * n / float(seconds.sum())
    length = max(round(n ** (1 / 3)), math.ceil(n / max(effective_count(seconds), 1.0)))
    length = max(length, math.ceil(n / processes)) if processes > 1 else length
    count = math.ceil(n / length)
    if count < _LEAST_BLOCKS:
        return Rate(value, None, None, confidence)
    sums = np.concatenate(([0.0], np.cumsum(np.concatenate((seconds, seconds[:length])))))
    blocks = sums[length : length + n] - sums[:n]
    starts = np.random.default_rng(seed).integers(0, n, (RESAMPLES, count))
    rates = images * length * count / blocks[starts].sum(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(rates, [tail, 1 - tail])
    return Rate(value, float(low), float(high), confidence)


def mann_kendall(values: Floats) -> float:
    """Two-sided probability of a trend as strong as this in a series without one.

    Ties are corrected for, the normal approximation has its continuity correction. 1.0 for fewer than four
    values.
    """
    n = len(values)
    if n < 4:
        return 1.0
    signs = np.sign(values[None, :] - values[:, None])
    score = float(np.triu(signs, 1).sum())
    _, ties = np.unique(values, return_counts=True)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    if variance <= 0 or not score:
        return 1.0
    return math.erfc(max(abs(score) - 1, 0) / math.sqrt(variance) / math.sqrt(2))


def pettitt(values: Floats) -> float:
    """P value of Pettitt's test for a change of level.

    It is the probability of a change of level as clear as this one, somewhere in a series without one
    (Pettitt 1979, his approximation, which is cautious for short series).
    """
    n = len(values)
    if n < 4:
        return 1.0
    signs = np.sign(values[:, None] - values[None, :])
    statistic = max(abs(float(signs[:cut, cut:].sum())) for cut in range(1, n))
    return min(1.0, 2 * math.exp(-6 * statistic**2 / (n**3 + n**2)))


def block_medians(values: Floats, blocks: int) -> Floats:
    """Medians of at most `blocks` consecutive stretches of nearly equal length."""
    parts = np.array_split(values, min(blocks, len(values)))
    return np.array([np.median(part) for part in parts])


def histogram(samples: Floats, bins: int = 60) -> Histogram:
    """All samples (positive) in geometrically spaced bins.

    A single value gives one bin around it.
    """
    low, high = float(samples.min()), float(samples.max())
    low, high = max(low, 1e-9), max(high, 1e-9)
    if high <= low * (1 + 1e-9):
        return Histogram((low * 0.999, low * 1.001), (len(samples),))
    edges = np.geomspace(low, high, min(bins, max(8, round(2 * len(samples) ** 0.5))) + 1)
    edges[0], edges[-1] = low, np.nextafter(high, np.inf)
    counts, _ = np.histogram(np.maximum(samples, low), edges)
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))
