"""Steady state: found by looking at the queries, not by counting some off."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgeyolo_bench.measure.statistics import block_medians, mann_kendall, pettitt
from edgeyolo_bench.values.measurement import SteadyState

WINDOW_SECONDS = 0.5
WINDOW_QUERIES = 8
_BLOCKS = 30
_WARM_DRIFT, _WARM_P = 0.02, 0.05
_RUN_DRIFT, _RUN_P = 0.05, 0.01  # a whole run is judged once, by more samples: only what matters counts


def trend(values: NDArray[np.float64]) -> tuple[float, float]:
    """Relative trend of a series, and its P value.

    These are the relative change of the median from the first to the last third, and the probability that a
    steady series shows as clear a trend or change of level: the smaller of Mann-Kendall's and Pettitt's on
    block medians, doubled.
    """
    thirds, blocks = block_medians(values, 3), block_medians(values, _BLOCKS)
    p = min(1.0, 2 * min(mann_kendall(blocks), pettitt(blocks)))
    return float(thirds[-1] / thirds[0] - 1), p


def settle(query: Callable[[], float], *, limit: float) -> SteadyState:
    """Run queries until their latency has settled.

    Each gives its milliseconds; it goes on until a window of them shows no trend, or for `limit` seconds.

    A window is at least 8 queries and half a second; each is judged on its own, so what is slow at first (memory
    being mapped, kernels being chosen, a clock rising) falls out with its window. At least one window is run.
    """
    begin, discarded = perf_counter(), 0
    while True:
        window: list[float] = []
        opened = perf_counter()
        while len(window) < WINDOW_QUERIES or perf_counter() - opened < WINDOW_SECONDS:
            window.append(query())
        discarded += len(window)
        drift, p = trend(np.array(window))
        steady = p >= _WARM_P or abs(drift) <= _WARM_DRIFT
        if steady or perf_counter() - begin >= limit:
            return SteadyState(steady, discarded, drift, p)


def judge_run(warm: SteadyState, values: NDArray[np.float64]) -> SteadyState:
    """The whole run after `warm`: it must show no trend either."""
    drift, p = trend(values)
    return SteadyState(
        warm.reached and not (p < _RUN_P and abs(drift) > _RUN_DRIFT), warm.discarded, drift, p
    )
