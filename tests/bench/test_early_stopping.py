"""MLPerf's early stopping, beside figures that its load generator printed and beside another way to compute it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeyolo_bench.measure.early_stopping import discarded, early_stopping, needed, tail
from edgeyolo_bench.measure.scenarios import SCENARIOS
from edgeyolo_bench.render.table import notes

from .sample import measurement, sample_report


# Queries and discarded latencies of p90 in published logs of the load generator.
@pytest.mark.parametrize(("queries", "found"), [(2048, 172), (2116, 178), (7469, 685)])
def test_as_many_are_discarded_as_by_the_load_generator(queries: int, found: int) -> None:
    assert discarded(queries, 0.9) == found


def test_the_least_counts_are_those_of_the_rules() -> None:
    assert (needed(0.9), needed(0.99)) == (64, 662)
    assert discarded(63, 0.9) is None and discarded(64, 0.9) == 0
    for name in ("single-stream", "multi-stream"):
        scenario = SCENARIOS[name]
        assert scenario.percentile and scenario.min_count >= needed(scenario.percentile)


@pytest.mark.parametrize(
    ("below", "above", "p"), [(63, 1, 0.9), (500, 7, 0.99), (20, 0, 0.9), (3000, 280, 0.9)]
)
def test_the_tail_is_the_incomplete_beta_function(below: int, above: int, p: float) -> None:
    special = pytest.importorskip("scipy.special", reason="needs scipy")
    assert tail(below, above, p) == pytest.approx(special.betainc(below, above + 1, p), rel=1e-9)


def test_the_estimate_is_the_highest_that_is_left() -> None:
    samples = np.random.default_rng(0).permutation(np.arange(1.0, 2049.0))
    assert early_stopping(samples, 0.9).value == 2048 - 172
    few = early_stopping(samples[:63], 0.9)
    assert few.value is None and (few.queries, few.needed) == (63, 64)


def test_it_is_seldom_below_the_true_percentile() -> None:
    rng = np.random.default_rng(1)
    true = -np.log(0.1)
    below = sum(early_stopping(rng.exponential(size=200), 0.9).value < true for _ in range(1000))  # type: ignore[operator]
    assert below <= 20, "with 99 % confidence one in a hundred"


def test_it_stands_below_the_table() -> None:
    base = measurement("yolov7", "cpu-onnx-fp32", scenario="single-stream")
    item = replace(base, early_stopping=early_stopping(np.arange(1.0, 65.0), 0.9))
    (said,) = (line for line in notes(replace(sample_report(), measurements=(item,))) if "MLPerf" in line)
    assert "p90 64.0 ms by MLPerf's early stopping (64 queries, 0 discarded" in said
