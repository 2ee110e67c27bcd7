"""Moments of capture, from the arrival of frames and a camera's time stamps."""

from __future__ import annotations

_DRIFT = 1e-3  # seconds a second that two clocks may run apart; crystals keep to 1e-4
_JUMP_S = 10.0  # a delay above this is not one: the camera has set its clock, or started again


class CaptureClock:
    """Moments of capture on the receiver's clock.

    A network delivers in bursts: pictures that a camera took over half a second arrive together. The camera's time
    stamps say how far apart they were taken; the smallest delay seen says where its zero lies on our clock. The result
    is never later than the arrival and never goes back.
    """

    def __init__(self) -> None:
        self._zero: float | None = None
        self._last = float("-inf")
        self._arrived = 0.0

    def captured(self, arrived: float, stamp: float | None = None) -> float:
        """Seconds on the clock of `arrived`.

        `stamp` are the camera's own seconds, None where it gives none.
        """
        moment = arrived
        if stamp is not None:
            offset = arrived - stamp
            if self._zero is None or abs(offset - self._zero) > _JUMP_S:
                self._zero = offset
            else:
                self._zero = min(self._zero + _DRIFT * (arrived - self._arrived), offset)
            moment = stamp + self._zero
        self._arrived = arrived
        self._last = max(moment, self._last)
        return self._last
