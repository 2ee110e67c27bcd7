"""Rounding whose errors cancel within kernels and filters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeyolo_calib.quantize.even_sums import nearest_sums, to_nearest, with_even_sums
from edgeyolo_calib.ranges.ranges import weight_scales

SHAPES = [(8, 1, 5, 5), (6, 12, 3, 3), (5, 40, 1, 1), (3, 1, 1, 1), (2, 3, 1, 7)]


def drawn(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Weights whose filters are unlike in size."""
    made = np.random.default_rng(seed)
    return np.asarray(made.laplace(size=shape) * made.lognormal(size=(shape[0], 1, 1, 1)), np.float32)


def errors(rounded: NDArray[Any], weight: NDArray[Any], scales: NDArray[Any]) -> NDArray[np.float64]:
    """Errors in steps."""
    return (rounded.astype(np.float64) - weight) / scales.reshape(-1, 1, 1, 1)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SHAPES), st.integers(0, 10_000))
def test_no_weight_leaves_the_two_levels_around_it(shape: tuple[int, ...], seed: int) -> None:
    weight = drawn(shape, seed)
    scales = weight_scales(weight)
    rounded = with_even_sums(weight, scales)
    assert np.abs(errors(rounded, weight, scales)).max() < 1 + 1e-3
    levels = rounded / scales.reshape(-1, 1, 1, 1)
    assert np.abs(levels - np.rint(levels)).max() < 1e-3
    assert (np.abs(np.rint(levels)).reshape(shape[0], -1).max(axis=1) == 127).all()
    np.testing.assert_allclose(weight_scales(rounded), scales, rtol=1e-6)  # a runtime finds the same scale


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_sums_over_kernels_and_filters_stay_near_zero(seed: int) -> None:
    weight = drawn((6, 12, 3, 3), seed)
    scales = weight_scales(weight)
    found = errors(with_even_sums(weight, scales), weight, scales)
    kernels, filters = found.sum(axis=(2, 3)), found.sum(axis=(1, 2, 3))
    # Half a step, where there is a weight to move; another step in the kernels that even out their filter.
    assert np.abs(kernels).max() <= 1.51
    assert np.mean(np.abs(kernels) <= 0.51) > 0.7
    assert np.abs(filters).max() <= 0.51


def test_a_depthwise_kernel_answers_flat_parts_as_before() -> None:
    """Each has one channel, so that nothing averages: the sum's error is what a flat picture shows."""
    weight = drawn((64, 1, 5, 5))
    scales = weight_scales(weight)
    ours, nearest = (
        np.abs(errors(each, weight, scales).sum(axis=(1, 2, 3))).mean()
        for each in (with_even_sums(weight, scales), to_nearest(weight, scales))
    )
    assert ours < nearest / 3


def test_what_is_rounded_stays() -> None:
    for shape in SHAPES:
        once = with_even_sums(drawn(shape), weight_scales(drawn(shape)))
        again = weight_scales(once)
        np.testing.assert_allclose(with_even_sums(once, again), once, rtol=1e-6)
        np.testing.assert_allclose(to_nearest(once, again), once, rtol=1e-6)


def test_one_scale_for_all_filters_and_parts_of_a_large_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = drawn((6, 12, 3, 3))
    scale = weight_scales(weight, per_channel=False)
    whole = with_even_sums(weight, scale)
    assert np.abs(errors(whole, weight, np.full(6, scale)).sum(axis=(1, 2, 3))).max() <= 0.51
    monkeypatch.setattr("edgeyolo_calib.quantize.even_sums._AT_ONCE", 200)
    assert np.array_equal(with_even_sums(weight, scale), whole)


def test_levels_of_any_distance() -> None:
    levels = np.array([-3.0, -1.0, 0.0, 0.25, 1.0, 4.0])
    exact = np.random.default_rng(3).uniform(-3, 4, (5, 20, 3))
    above = np.searchsorted(levels, exact)
    rounded = nearest_sums(exact, levels[above - 1], levels[above])
    assert np.isin(rounded, levels).all()
    near = levels[np.abs(exact[..., None] - levels).argmin(axis=-1)]
    ours, theirs = (np.abs((each - exact).sum(axis=(1, 2))).mean() for each in (rounded, near))
    assert ours < theirs / 3


def test_zeros_and_single_weights() -> None:
    for weight in (np.zeros((2, 3, 3, 3), np.float32), np.full((4, 1, 1, 1), -0.3, np.float32)):
        np.testing.assert_allclose(with_even_sums(weight, weight_scales(weight)), weight, rtol=1e-6)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ([10, 0.4, 0.3, 0.45], [10, 0, 0, 1]),  # 1.15 are missing: the one nearest to the middle goes up
        ([10, 0.4, 0.3, -0.45], [10, 0, 0, 0]),  # within half a step already
        ([-10, -0.4, -0.3, -0.45], [-10, 0, 0, -1]),
        ([10, 0.4, 0.45, 0.41, 0.42, 0.43], [10, 0, 1, 0, 0, 1]),  # two are missing
        ([10, 0.6, 0.7, 0.55], [10, 1, 1, 0]),  # too much
        ([10, 2, 3, -4], [10, 2, 3, -4]),
        ([10, 0.25, 0.25], [10, 0, 0]),  # half a step either way: nothing moves
        ([9.6, 9.7, 0.1], [9, 10, 0]),  # the largest does not move, where it would be nearest to the middle
        ([9.7, 9.6, 0.1], [10, 9, 0]),
        ([10, 0.5], [10, 0]),
    ],
)
def test_of_a_kernel_those_nearest_to_the_middle_move(kernel: list[float], expected: list[float]) -> None:
    exact = np.array(kernel)[None, None]
    assert nearest_sums(exact, np.floor(exact), np.ceil(exact)).ravel().tolist() == expected


def test_of_a_filter_one_weight_a_kernel_moves() -> None:
    """Each kernel is right within half a step; together they miss more."""
    exact = np.array([[[10, 0.3, 0.1], [3, 0.4, 0.05], [2, 0.2, 0.15], [1, 0.1, 0.2]]])
    rounded = nearest_sums(exact, np.floor(exact), np.ceil(exact))
    # 1.5 are missing: the costs of moving are 0.4 in the first kernel, 0.2 in the second, 0.6 in the others.
    assert rounded.tolist() == [[[10, 0, 0], [3, 1, 0], [2, 0, 0], [1, 0, 0]]]
    more = exact + np.array([0, 0.05, 0])
    assert nearest_sums(more, np.floor(more), np.ceil(more)).tolist() == [
        [[10, 1, 0], [3, 1, 0], [2, 0, 0], [1, 0, 0]]
    ]


def test_a_weight_that_moved_for_its_kernel_stays_for_its_filter() -> None:
    exact = np.array([[[10, 0.45, 0.4], [3, 0.4, 0.4], [2, 0.0, 0.0]]])
    rounded = nearest_sums(exact, np.floor(exact), np.ceil(exact))
    assert rounded.tolist() == [[[10, 1, 0], [3, 1, 0], [2, 0, 0]]]
    assert rounded.sum() - exact.sum() == pytest.approx(0.35)
