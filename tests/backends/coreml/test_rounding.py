"""Weights on levels that a file can hold, with errors that cancel within each filter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeyolo_coreml.rounding import palette, to_half, to_int8, to_palette

SEEDS = st.integers(0, 2**32 - 1)


def filters(seed: int, count: int = 4, taps: int = 200, spread: float = 4.0) -> np.ndarray:
    """Gaussian filters whose sizes differ by up to e^spread, as folded batch norms make them."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, taps)) * np.exp(rng.uniform(-spread, 0, (count, 1)))


@settings(max_examples=30)
@given(SEEDS)
def test_half_is_float16_a_step_away_and_keeps_the_sum(seed: int) -> None:
    weights = filters(seed)
    rounded = to_half(weights).astype(np.float64)
    assert np.array_equal(rounded, rounded.astype(np.float16))
    step = np.spacing(np.abs(weights).astype(np.float16)).astype(np.float64)
    assert (np.abs(rounded - weights) <= step).all()
    sums = np.abs((rounded - weights).sum(axis=1))
    assert (sums <= step.max(axis=1)).all()


@settings(max_examples=30)
@given(SEEDS)
def test_int8_is_the_grid_that_its_own_largest_weight_gives(seed: int) -> None:
    weights = filters(seed)
    rounded = to_int8(weights)
    halves = rounded.astype(np.float16)  # as a converted program holds them
    scale = (np.abs(halves).max(axis=1) * np.float16(2) / np.float16(254)).astype(np.float64)[:, None]
    levels = np.rint(halves.astype(np.float64) / scale)
    assert np.abs(levels).max() == 127
    np.testing.assert_array_equal((levels * scale).astype(np.float32), rounded)
    assert (np.abs(rounded - weights) <= scale * 1.01).all()
    # The largest weight gives the grid and is not free; 127 steps of it lie within half a float16 step of it.
    assert (np.abs((rounded - weights).sum(axis=1)) <= 1.6 * scale[:, 0]).all()


@settings(max_examples=15)
@given(SEEDS)
def test_a_palette_has_at_most_64_float16_values(seed: int) -> None:
    weights = filters(seed, taps=400)
    rounded = to_palette(weights)
    values = np.unique(rounded)
    assert len(values) <= 64
    assert np.array_equal(values, values.astype(np.float16))
    assert weights.min() - 1e-2 <= values[0] <= values[-1] <= weights.max() + 1e-2
    inside = (weights > values[0]) & (weights < values[-1])
    upper = values[np.clip(np.searchsorted(values, weights), 1, len(values) - 1)]
    lower = values[np.clip(np.searchsorted(values, weights), 1, len(values) - 1) - 1]
    assert (((rounded == upper) | (rounded == lower)) | ~inside).all()


@pytest.mark.parametrize("rounder", [to_half, to_int8, to_palette])
def test_errors_cancel_far_better_than_rounding_to_nearest(rounder: object) -> None:
    weights = filters(7, count=32, taps=1152, spread=0.5)
    rounded = rounder(weights)  # type: ignore[operator]
    levels = {to_half: None, to_int8: 127}.get(rounder)  # type: ignore[call-overload]
    if rounder is to_half:
        nearest = weights.astype(np.float16)
    elif levels:
        scale = np.abs(weights).max(axis=1, keepdims=True) / levels
        nearest = np.rint(weights / scale) * scale
    else:
        table = palette(weights)
        nearest = table[np.abs(weights[..., None] - table).argmin(axis=-1)]
    ours, theirs = (np.abs((each - weights).sum(axis=1)).mean() for each in (rounded, nearest))
    assert ours < theirs / 5


def test_values_on_a_level_stay() -> None:
    halves = filters(1).astype(np.float16)
    assert np.array_equal(to_half(halves), halves)
    few = np.random.default_rng(0).choice([-1.5, -0.25, 0.0, 0.5, 2.0], (3, 100))
    assert np.array_equal(to_palette(few), few)
    grid = np.random.default_rng(0).integers(-127, 128, (3, 50)) * 0.25
    grid[:, 0] = 127 * 0.25
    assert np.array_equal(to_int8(grid), grid)


@pytest.mark.parametrize("rounder", [to_half, to_int8, to_palette])
@pytest.mark.parametrize("weights", [np.zeros((2, 9)), np.full((2, 9), 0.1), np.full((1, 1), -3e-8)])
def test_degenerate_filters_stay_finite_and_close(rounder: object, weights: np.ndarray) -> None:
    rounded = rounder(weights)  # type: ignore[operator]
    assert rounded.shape == weights.shape
    assert np.abs(rounded - weights).max() <= 1e-3


def test_shapes_of_convolutions_are_kept() -> None:
    weights = filters(3, count=8, taps=27).reshape(8, 3, 3, 3)
    for rounder in (to_half, to_int8, to_palette):
        assert rounder(weights).shape == (8, 3, 3, 3)
        assert rounder(weights).dtype == np.float32


@pytest.mark.parametrize("kind", ["laplace", "normal", "folded"])
def test_the_palette_is_nearly_the_best_one(kind: str) -> None:
    """coremltools carries an exact one-dimensional k-means: two percent of its squared error are allowed."""
    kmeans1d = pytest.importorskip(
        "coremltools._deps.kmeans1d", reason="this coremltools has no exact k-means"
    )
    rng = np.random.default_rng(5)
    weights = {
        "laplace": rng.laplace(size=20_000),
        "normal": rng.normal(size=20_000),
        "folded": filters(5, count=100).ravel(),
    }[kind]
    values, counts = np.unique(weights.astype(np.float16), return_counts=True)
    exact = values.astype(np.float64)
    best = kmeans1d.cluster(exact, 64, weights=counts)
    lowest = float(counts @ (np.asarray(best.centroids)[best.clusters] - exact) ** 2)
    table = palette(weights)
    assert len(table) == 64
    nearest = table[np.abs(exact[:, None] - table).argmin(axis=1)]
    assert float(counts @ (nearest - exact) ** 2) <= 1.02 * lowest


@pytest.mark.parametrize("distinct", [65, 66, 100, 257, 300])
def test_tensors_of_few_values_have_a_palette_too(distinct: int) -> None:
    values = np.linspace(-1, 1, distinct)
    table = palette(np.repeat(values, 7))
    assert 32 <= len(table) <= 64
    assert np.abs(values[:, None] - table).min(axis=1).max() <= 2.1 / 64
