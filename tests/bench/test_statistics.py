"""Intervals that hold what they claim: against closed forms, exhaustive sums and simulation."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeyolo.errors import UsageError
from edgeyolo_bench.measure.statistics import (
    binomial_cdf,
    block_medians,
    design_effect,
    effective_count,
    histogram,
    least_count,
    mann_kendall,
    order_interval,
    pettitt,
    quantile,
    rate,
)

probabilities = st.sampled_from([0.5, 0.9, 0.95, 0.99])


@given(st.integers(1, 60), st.floats(0.01, 0.99))
def test_binomial_is_the_exact_sum(n: int, p: float) -> None:
    exact = np.cumsum([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])
    np.testing.assert_allclose(binomial_cdf(n, p), exact, atol=1e-12)


def test_binomial_of_many_draws_keeps_its_precision() -> None:
    assert binomial_cdf(200_000, 0.99)[-1] == pytest.approx(1.0, abs=1e-7)
    assert binomial_cdf(100_001, 0.5)[50_000] == pytest.approx(0.5, abs=1e-7)  # by symmetry


@given(st.integers(1, 400), probabilities, st.sampled_from([0.9, 0.95, 0.99]))
def test_interval_is_the_narrowest_that_keeps_both_risks(n: int, q: float, confidence: float) -> None:
    low, high = order_interval(n, q, confidence)
    mass = [math.comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(n + 1)]
    tail = (1 - confidence) / 2
    for rank in range(1, n + 1):
        for risk, inside in (
            (sum(mass[:rank]), low is not None and rank <= low),
            (sum(mass[rank:]), high is not None and rank >= high),
        ):
            assert inside == (risk <= tail) or abs(risk - tail) < 1e-9  # rounding decides a tie


@pytest.mark.parametrize(("n", "q", "ranks"), [(10, 0.5, (2, 9)), (20, 0.5, (6, 15)), (100, 0.5, (40, 61))])
def test_known_ranks_of_the_median(n: int, q: float, ranks: tuple[int, int]) -> None:
    """As in the tables of nonparametric confidence intervals for the median (95 %)."""
    assert order_interval(n, q) == ranks


@given(probabilities, st.sampled_from([0.9, 0.95, 0.99]))
def test_least_count_is_where_both_ends_appear(q: float, confidence: float) -> None:
    n = least_count(q, confidence)
    assert None not in order_interval(n, q, confidence)
    assert None in order_interval(n - 1, q, confidence)


def test_least_counts_in_closed_form() -> None:
    assert (least_count(0.5), least_count(0.9), least_count(0.99)) == (6, 36, 368)


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_coverage_on_skewed_independent_samples(q: float) -> None:
    rng = np.random.default_rng(1)
    truth = math.exp(0.5 * {0.5: 0.0, 0.9: 1.2815515655, 0.99: 2.3263478740}[q])  # of a log-normal
    found = [quantile(np.exp(0.5 * rng.normal(size=800)), q) for _ in range(600)]
    held = np.mean([item.low <= truth <= item.high for item in found if item.low and item.high])
    assert all(item.reportable for item in found)
    assert 0.935 <= held <= 0.995


def autoregressive(rng: np.random.Generator, n: int, memory: float) -> np.ndarray:
    noise, values = rng.normal(size=n), np.empty(n)
    values[0] = noise[0]
    for index in range(1, n):
        values[index] = memory * values[index - 1] + math.sqrt(1 - memory**2) * noise[index]
    return values


def test_coverage_holds_where_queries_depend_on_each_other() -> None:
    """Counting every sample would hold the median in about two thirds of the cases here, not in 95 %."""
    rng = np.random.default_rng(2)
    held = blind = 0
    for _ in range(300):
        values = np.exp(0.2 * autoregressive(rng, 600, 0.7))
        found = quantile(values, 0.5)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 1.0 <= found.high
        low, high = order_interval(600, 0.5)
        assert low is not None
        assert high is not None
        ordered = np.sort(values)
        blind += ordered[low - 1] <= 1.0 <= ordered[high - 1]
    assert held / 300 >= 0.9
    assert blind / 300 < 0.8


@pytest.mark.parametrize(("between", "most"), [(0.0, 1.3), (1.0, 40.0)])
def test_design_effect_is_what_theory_says(between: float, most: float) -> None:
    """1 + (m - 1) r for k clusters of m with intraclass correlation r."""
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(40), 50)
    values = rng.normal(size=2000) + between * np.repeat(rng.normal(size=40), 50)
    theory = 1 + 49 * between**2 / (1 + between**2)
    assert design_effect(values, groups) == pytest.approx(theory, rel=0.5)
    assert design_effect(values, groups) <= most
    assert design_effect(values, np.zeros(2000, np.int64)) == 1.0
    assert design_effect(np.ones(20), np.repeat([0, 1], 10)) == 1.0


def test_processes_that_differ_widen_the_interval_to_hold_the_true_median() -> None:
    """Ten processes of 60 queries, each 1 % apart from the others; the queries of one vary by 1 %."""
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(10), 60)
    held = blind = 0
    for _ in range(200):
        values = 10 + 0.1 * rng.normal(size=600) + 0.1 * np.repeat(rng.normal(size=10), 60)
        found, naive = quantile(values, 0.5, groups=groups), order_interval(600, 0.5)
        assert found.low is not None
        assert found.high is not None
        assert None not in naive
        held += found.low <= 10 <= found.high
        ordered = np.sort(values)
        blind += ordered[(naive[0] or 1) - 1] <= 10 <= ordered[(naive[1] or 1) - 1]
    assert held / 200 >= 0.93
    assert blind / 200 <= 0.5


def test_effective_count_follows_theory() -> None:
    rng = np.random.default_rng(3)
    n, memory = 20_000, 0.8
    assert effective_count(rng.normal(size=n)) > 0.9 * n
    assert effective_count(autoregressive(rng, n, memory)) == pytest.approx(
        n * (1 - memory) / (1 + memory), rel=0.2
    )
    assert effective_count(np.tile([1.0, 2.0], 50)) == 100  # alternating: no more than its length
    assert effective_count(np.ones(10)) == 10


@given(st.lists(st.floats(0.001, 1e4), min_size=1, max_size=80), probabilities)
def test_a_quantile_is_a_sample_inside_its_interval(values: list[float], q: float) -> None:
    samples = np.array(values)
    found = quantile(samples, q)
    assert found.value in values
    assert np.mean(samples <= found.value) >= q - 1e-9
    assert np.mean(samples < found.value) < q + 1e-9
    assert (found.low is None or found.low <= found.value) and (
        found.high is None or found.value <= found.high
    )
    assert found.reportable == (found.low is not None and found.high is not None)
    assert len(values) >= least_count(q) or not found.reportable


@pytest.mark.parametrize("memory", [0.0, 0.6])
def test_rate_covers_the_true_rate(memory: float) -> None:
    rng = np.random.default_rng(4)
    mean = math.exp(0.5 * 0.3**2)
    held = 0
    for index in range(200):
        seconds = 0.01 * np.exp(0.3 * autoregressive(rng, 400, memory))
        found = rate(seconds, 8, seed=index)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 8 / (0.01 * mean) <= found.high
    assert held / 200 >= 0.88


def test_rate_of_few_queries_has_no_interval() -> None:
    found = rate(np.full(5, 0.5), 2)
    assert (found.value, found.low, found.high) == (4.0, None, None)


def test_trends() -> None:
    rng = np.random.default_rng(5)
    false_alarms = np.mean([mann_kendall(rng.normal(size=12)) < 0.05 for _ in range(1500)])
    assert 0.02 <= false_alarms <= 0.07
    assert mann_kendall(np.arange(12.0)) < 1e-4
    assert mann_kendall(-np.arange(12.0)) < 1e-4
    assert mann_kendall(np.ones(12)) == 1.0
    assert mann_kendall(np.array([1.0, 2.0, 3.0])) == 1.0


def test_changes_of_level() -> None:
    rng = np.random.default_rng(6)
    false_alarms = np.mean([pettitt(rng.normal(size=30)) < 0.05 for _ in range(600)])
    assert false_alarms <= 0.06
    step = np.where(np.arange(30) < 15, 1.0, 2.0) + 0.1 * rng.normal(size=30)
    assert pettitt(step) < 1e-4
    assert pettitt(step[::-1]) < 1e-4
    assert pettitt(np.ones(30)) == 1.0
    assert pettitt(np.array([1.0, 5.0])) == 1.0


@given(st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=200))
def test_a_histogram_holds_every_sample(values: list[float]) -> None:
    found = histogram(np.array(values))
    assert sum(found.counts) == len(values)
    assert len(found.edges) == len(found.counts) + 1
    assert found.edges[0] <= min(values) and max(values) <= found.edges[-1]
    assert all(first < second for first, second in pairwise(found.edges))


def test_block_medians_are_of_stretches_in_order() -> None:
    np.testing.assert_array_equal(block_medians(np.arange(9.0), 3), [1, 4, 7])
    np.testing.assert_array_equal(block_medians(np.arange(2.0), 5), [0, 1])


@pytest.mark.parametrize("call", [lambda: quantile(np.array([]), 0.5), lambda: quantile(np.ones(3), 1.0),
                                  lambda: rate(np.array([]), 1)])  # fmt: skip
def test_nothing_measured_is_an_error(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError):
        call()
