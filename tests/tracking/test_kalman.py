"""The filter in continuous time."""

from __future__ import annotations

import numpy as np
import pytest

from edgeyolo.tracking.kalman import BoxStates, MotionModel

MODEL = MotionModel()
BOXES = np.array([[100.0, 50.0], [80.0, 60.0], [20.0, 30.0], [40.0, 60.0]])
NONE = np.zeros(2)


def moving() -> BoxStates:
    """Two tracks measured twice, so that every number of their states is at work."""
    noise = MODEL.noise(BOXES, NONE)
    states = BoxStates.new(BOXES, noise, MODEL).predict(0.1, MODEL)
    return states.correct(np.array([0, 1]), BOXES + 2, noise)


def test_one_long_step_is_many_short_ones() -> None:
    once = moving().predict(0.4, MODEL)
    often = moving()
    for seconds in (0.03, 0.0, 0.07, 0.1, 0.2):
        often = often.predict(seconds, MODEL)
    # Noise grows with the box's own height, which changes a little on the way.
    np.testing.assert_allclose(often.values, once.values, rtol=0.06, atol=1e-6)
    np.testing.assert_allclose(often.mean, once.mean, rtol=1e-9)


def test_without_growth_the_steps_agree_to_rounding() -> None:
    model = MotionModel(growth_speed=0.0, growth=0.0)
    states = BoxStates.new(BOXES, model.noise(BOXES, NONE), model)
    often = states
    for _ in range(10):
        often = often.predict(0.05, model)
    np.testing.assert_allclose(often.values, states.predict(0.5, model).values, rtol=1e-9)


def test_equals_the_textbook_filter() -> None:
    states = moving()
    before = states.predict(0.2, MODEL)
    measured, noise = BOXES + 5, MODEL.noise(BOXES, NONE + 0.5)
    after = before.correct(np.array([0, 1]), measured, noise)
    for row in (0, 1):  # centre x and y: constant velocity
        for track in (0, 1):
            mean, velocity, variance, covariance, speed = states.values[:, row, track]
            step = np.array([[1, 0.2], [0, 1]])
            power = (MODEL.acceleration * states.mean[3, track]) ** 2
            noise_added = power * np.array([[0.2**3 / 3, 0.2**2 / 2], [0.2**2 / 2, 0.2]])
            state = step @ (mean, velocity)
            spread = step @ np.array([[variance, covariance], [covariance, speed]]) @ step.T + noise_added
            gain = spread[:, 0] / (spread[0, 0] + noise[row, track])
            state = state + gain * (measured[row, track] - state[0])
            spread = spread - np.outer(gain, spread[0])
            expected = [*state, spread[0, 0], spread[0, 1], spread[1, 1]]
            np.testing.assert_allclose(after.values[:, row, track], expected, rtol=1e-9)


def test_only_matched_tracks_are_corrected() -> None:
    states = moving()
    after = states.correct(np.array([1]), BOXES[:, 1:] + 9, MODEL.noise(BOXES[:, 1:], NONE[1:]))
    np.testing.assert_array_equal(after.values[:, :, 0], states.values[:, :, 0])
    assert (after.mean[:, 1] > states.mean[:, 1]).all()


def test_a_shrinking_box_keeps_a_size() -> None:
    states = BoxStates.new(BOXES, MODEL.noise(BOXES, NONE), MODEL)
    states.values[1, 2:] = -1000.0
    assert states.predict(5.0, MODEL).mean[2:].min() == 1.0


@pytest.mark.parametrize("seconds", [0.001, 0.04, 1.0, 60.0])
def test_covariances_stay_valid(seconds: float) -> None:
    _, _, variance, covariance, speed = moving().predict(seconds, MODEL).values
    assert (
        (variance > 0).all() and (speed > 0).all() and (covariance**2 <= variance * speed * (1 + 1e-9)).all()
    )
