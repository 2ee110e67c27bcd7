"""Moments of capture: bursts are spread out again, clocks may drift and jump."""

from __future__ import annotations

import pytest

from edgeyolo.stream.capture_clock import CaptureClock


def test_without_time_stamps_the_arrival_counts() -> None:
    clock = CaptureClock()
    assert [clock.captured(moment) for moment in (5.0, 5.1, 5.3)] == [5.0, 5.1, 5.3]


def test_a_burst_is_spread_by_the_cameras_time_stamps() -> None:
    clock = CaptureClock()
    clock.captured(1000.0, 0.0)  # on time
    moments = [clock.captured(1000.5, stamp) for stamp in (0.1, 0.2, 0.3, 0.4, 0.5)]
    assert moments == pytest.approx([1000.1, 1000.2, 1000.3, 1000.4, 1000.5], abs=1e-3)


def test_never_later_than_the_arrival_and_never_back() -> None:
    clock = CaptureClock()
    last = float("-inf")
    arrivals = [
        (1000 + stamp + delay, stamp)
        for stamp, delay in zip(range(50), [0.3, 0.05, 0.2, 0.0, 0.4] * 10, strict=True)
    ]
    for arrived, stamp in arrivals:
        moment = clock.captured(arrived, float(stamp))
        assert last <= moment <= arrived
        last = moment
    assert moment == pytest.approx(1000 + 49, abs=0.02)


@pytest.mark.parametrize("drift", [1e-4, -1e-4])
def test_a_clock_that_drifts_is_followed(drift: float) -> None:
    clock = CaptureClock()
    for second in range(7200):
        moment = clock.captured(1000.0 + second, second * (1 + drift))
    assert moment == pytest.approx(1000.0 + second, abs=0.01)


def test_a_camera_that_starts_again_starts_at_zero() -> None:
    clock = CaptureClock()
    for second in range(100):
        clock.captured(1000.0 + second, float(second))
    assert clock.captured(1200.0, 0.0) == 1200.0
    assert clock.captured(1201.0, 1.0) == pytest.approx(1201.0, abs=2e-3)
