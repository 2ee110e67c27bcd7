"""Ranges and scales against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from edgeyolo.errors import UsageError
from edgeyolo_calib.ranges.histogram import Histogram
from edgeyolo_calib.ranges.ranges import INT8, METHODS, UINT8, Grid, choose, weight_scales

GRIDS = (INT8, UINT8)


def drawn(kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    values = {
        "normal": rng.normal(0, 1, 50_000),
        "one-sided": np.abs(rng.normal(0, 1, 50_000)),
        "outlier": np.append(rng.normal(0, 1, 50_000), 60.0),
    }[kind]
    return values.astype(np.float32)


def histogram_of(values: np.ndarray) -> Histogram:
    histogram = Histogram()
    histogram.add(values)
    return histogram


def error(values: np.ndarray, grid: Grid, bounds: tuple[float, float]) -> float:
    scale, zero = grid.place(*bounds)
    exact = values.astype(np.float64)
    return float(((grid.round(exact, float(scale), zero) - exact) ** 2).mean())


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("bounds", [(-3.0, 5.0), (0.5, 2.0), (-4.0, -1.0), (0.0, 0.0), (-1e-3, 1e4)])
def test_zero_is_always_exact(grid: Grid, bounds: tuple[float, float]) -> None:
    scale, zero = grid.place(*bounds)
    assert grid.low <= zero <= grid.high
    assert grid.round(np.zeros(1), float(scale), zero)[0] == 0.0
    if grid.symmetric:
        assert zero == 0
    ends = np.array([min(bounds[0], 0.0), max(bounds[1], 0.0)])
    assert np.abs(grid.round(ends, float(scale), zero) - ends).max() <= scale


@pytest.mark.parametrize("grid", GRIDS)
def test_minmax_covers_everything(grid: Grid) -> None:
    values = drawn("outlier")
    low, high = choose(histogram_of(values), grid, "minmax")
    assert low <= values.min()
    assert high == values.max() == 60.0


@pytest.mark.parametrize("share", [90.0, 99.0, 99.9])
def test_percentile_leaves_out_that_share(share: float) -> None:
    values = drawn("normal")
    low, high = choose(histogram_of(values), UINT8, "percentile", percentile=share)
    outside = ((values < low) | (values > high)).mean()
    assert outside == pytest.approx(1 - share / 100, rel=0.15)
    bound = choose(histogram_of(values), INT8, "percentile", percentile=share)[1]
    assert (np.abs(values) > bound).mean() == pytest.approx(1 - share / 100, rel=0.15)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", ["normal", "one-sided", "outlier"])
def test_mse_is_as_good_as_any_scaled_range(grid: Grid, kind: str) -> None:
    values = drawn(kind)
    full = (min(float(values.min()), 0.0), float(values.max()))
    found = error(values, grid, choose(histogram_of(values), grid, "mse"))
    tried = [error(values, grid, (full[0] * s, full[1] * s)) for s in np.linspace(0.04, 1, 60)]
    assert found <= min(tried) * 1.05


def test_outliers_are_cut_by_all_but_minmax() -> None:
    histogram = histogram_of(drawn("outlier"))
    highs = {method: choose(histogram, INT8, method, percentile=99.99)[1] for method in METHODS}
    assert highs.pop("minmax") == 60.0
    assert 40.0 < highs.pop("mse") < 60.0  # one value of 60 is worth many small roundings, but not all
    assert all(2.0 < high < 20.0 for high in highs.values()), highs


def test_mse_looks_through_the_activation_function() -> None:
    """Behind a ReLU negative values cost nothing, so the grid need not hold them."""
    values = np.random.default_rng(0).normal(-2, 2, 50_000).astype(np.float32)
    plain = choose(histogram_of(values), UINT8, "mse")
    behind = choose(histogram_of(values), UINT8, "mse", through=lambda x: np.maximum(x, 0))
    assert plain[0] < -5
    assert behind[0] > -1


def test_an_empty_or_constant_tensor_has_a_range() -> None:
    for method in METHODS:
        assert choose(Histogram(), INT8, method) == (0.0, 0.0)
        assert choose(histogram_of(np.zeros(10, np.float32)), UINT8, method) == (0.0, 0.0)


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(UsageError, match="median"):
        choose(Histogram(), INT8, "median")  # type: ignore[arg-type]


def test_weights_have_a_scale_for_each_channel() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (6, 4, 3, 3)).astype(np.float32)
    weight *= np.array([1, 10, 0.1, 1, 0, 5], np.float32)[:, None, None, None]
    scales = weight_scales(weight)
    largest = np.abs(weight).reshape(6, -1).max(axis=1)
    np.testing.assert_allclose(scales[largest > 0], largest[largest > 0] / 127, rtol=1e-6)
    assert (scales > 0).all()
    assert weight_scales(weight, per_channel=False).shape == ()
