"""Early stopping as MLPerf Inference defines it, of single- and multi-stream.

A percentile of the queries that were taken is no percentile of all that could be. The rules therefore discard only as
many of the highest latencies as still leave, with 99 % confidence, at least the percentile's share of all queries below
the highest that is kept (MLPerf Inference rules, "Early stopping"; tolerance 0, confidence 0.99). With t queries above
and h below, that holds where the regularized incomplete beta function I_p(h, t + 1), the probability of at most t above
among h + t in a system whose share below is p, is at most 0.01. It equals a binomial tail, and is computed as one.
"""

from __future__ import annotations

import math

import numpy as np

from edgeyolo_bench.measure.statistics import Floats
from edgeyolo_bench.values.measurement import EarlyStopping

CONFIDENCE = 0.99


def tail(below: int, above: int, percentile: float) -> float:
    """I_p(below, above + 1): P(X <= above) of X ~ Binomial(below + above, 1 - p)."""
    n = below + above
    k = np.arange(above + 1, dtype=np.float64)
    steps = np.log((n - k[:-1]) / (k[:-1] + 1)) + math.log1p(-percentile) - math.log(percentile)
    logs = n * math.log(percentile) + np.concatenate(([0.0], np.cumsum(steps)))
    highest = float(logs.max())
    return min(math.exp(highest + math.log(float(np.exp(logs - highest).sum()))), 1.0)


def discarded(queries: int, percentile: float, confidence: float = CONFIDENCE) -> int | None:
    """Number of highest latencies that `queries` allow to discard.

    None where they are too few. One latency stays above the estimate: of t that may lie above, t - 1 are discarded
    and the estimate is that of rank `queries - t` counted from 0, as in MLPerf's load generator.
    """

    def enough(above: int) -> bool:
        return above < queries and tail(queries - above, above, percentile) <= 1 - confidence

    if not enough(1):
        return None
    low, high = 1, 2
    while enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low - 1


def needed(percentile: float, confidence: float = CONFIDENCE) -> int:
    """Fewest queries that give an estimate: 64 for p90, 662 for p99."""
    queries = 2
    while discarded(queries, percentile, confidence) is None:
        queries += 1
    return queries


def early_stopping(samples: Floats, percentile: float, confidence: float = CONFIDENCE) -> EarlyStopping:
    """The estimate of a percentile (0.9: p90) of milliseconds, by MLPerf's rule."""
    left_out = discarded(len(samples), percentile, confidence)
    if left_out is None:
        return EarlyStopping(percentile, confidence, len(samples), needed(percentile, confidence), 0, None)
    value = float(np.sort(samples)[len(samples) - left_out - 1])
    return EarlyStopping(
        percentile, confidence, len(samples), needed(percentile, confidence), left_out, value
    )
