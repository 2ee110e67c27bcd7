"""Histograms: the same counts whatever the order, and nothing counted that is no number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeyolo.errors import DamagedFileError, EdgeYoloError
from edgeyolo_calib.ranges.histogram import SIDE, Histogram

Parts = list[tuple[int, float, int]]
parts = st.lists(
    st.tuples(st.integers(0, 2**31), st.floats(1e-6, 1e6), st.integers(1, 400)), min_size=1, max_size=6
)


def arrays(described: Parts) -> list[np.ndarray]:
    return [
        np.random.default_rng(seed).normal(0, scale, size).astype(np.float32)
        for seed, scale, size in described
    ]


def filled(values: list[np.ndarray]) -> Histogram:
    histogram = Histogram()
    for each in values:
        histogram.add(each)
    return histogram


def same(one: Histogram, other: Histogram) -> bool:
    return one.to_json() == other.to_json()


@settings(max_examples=30)
@given(parts)
def test_order_and_merging_leave_no_trace(described: Parts) -> None:
    values = arrays(described)
    whole = filled(values)
    assert same(whole, filled(values[::-1]))
    merged = Histogram()
    for each in values:
        merged.merge(filled([each]))
    assert same(whole, merged)


@settings(max_examples=30)
@given(parts)
def test_bins_hold_what_numpy_counts(described: Parts) -> None:
    values = np.concatenate(arrays(described))
    histogram = filled([values])
    edges = (np.arange(2 * SIDE + 1) - SIDE) * histogram.width
    expected, _ = np.histogram(values.astype(np.float64), edges)
    np.testing.assert_array_equal(histogram.counts, expected)
    assert (histogram.low, histogram.high) == (values.min(), values.max())
    assert histogram.largest < SIDE * histogram.width <= 2 * histogram.largest


def test_large_tensors_are_sampled_but_their_extremes_are_not() -> None:
    values = np.zeros(1_000_000, np.float32)
    values[777_777] = 5.0
    histogram = filled([values])
    assert histogram.high == 5.0
    assert 50_000 < histogram.total < 70_000


def test_json_gives_the_same_histogram_back() -> None:
    histogram = filled(arrays([(1, 3.0, 200)]))
    assert same(Histogram.from_json(histogram.to_json(), "here"), histogram)


@pytest.mark.parametrize("damage", [{"counts": [-1]}, {"low": 1e9}, {"start": "x"}, {"counts": None}])
def test_a_damaged_histogram_is_refused(damage: dict[str, object]) -> None:
    good = filled(arrays([(1, 3.0, 200)])).to_json()
    with pytest.raises(DamagedFileError, match="there: "):
        Histogram.from_json(good | damage, "there")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nonfinite_values_are_an_error(bad: float) -> None:
    with pytest.raises(EdgeYoloError, match="no numbers"):
        filled([np.array([0.0, bad], np.float32)])
