"""Terms of capture: frames passed on, their age, reconnection."""

from __future__ import annotations

from dataclasses import dataclass

from edgeyolo.errors import UsageError
from edgeyolo.stream.frame import Listener, Policy


@dataclass(frozen=True)
class Reconnection:
    """Times of reconnecting after a stream broke, in seconds.

    Attributes:
        delay: wait before the first attempt; it doubles with every one that fails.
        longest: longest wait.
        jitter: share of a wait that is left to chance, so that a hundred receivers do not come back at once.
        give_up_after: end with the error when there was no frame for so long; None never does.
        from_start: wait for a camera that cannot be reached at the first attempt either.
    """

    delay: float = 0.5
    longest: float = 15.0
    jitter: float = 0.3
    give_up_after: float | None = None
    from_start: bool = False

    def wait(self, failures: int, chance: float) -> float:
        """Seconds to wait after `failures` failed attempts in a row, from 0 on.

        `chance` is a number in 0..1.
        """
        return min(self.delay * 2.0 ** min(failures, 30), self.longest) * (1 - self.jitter * chance)


RECONNECTION = Reconnection()
"""The default."""


@dataclass(frozen=True)
class Terms:
    """Terms on which frames are captured and passed on.

    Attributes:
        policy: which frames are passed on.
        max_staleness: drop frames captured longer ago, seconds; None keeps them.
        max_fps: pass on at most so many frames a second of the source's time; None all.
        reconnection: when to connect again after a stream broke; None: not at all.
        silent_after: seconds without a frame after which a camera counts as silent and is connected again.
        on_event: called with every Event, in the thread that captures.

    Raises:
        UsageError: a value out of range.
    """

    policy: Policy = "auto"
    max_staleness: float | None = None
    max_fps: float | None = None
    reconnection: Reconnection | None = RECONNECTION
    silent_after: float = 5.0
    on_event: Listener = lambda _: None

    def __post_init__(self) -> None:
        if self.policy not in ("auto", "every", "freshest"):
            raise UsageError(
                f"policy: got {self.policy!r}",
                hint="Choose every, freshest or auto (files every, cameras freshest).",
            )
        for name in ("max_staleness", "max_fps", "silent_after"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name}: expected a number above 0, got {value!r}")


class RateLimit:
    """Choice of frames of which no more than `fps` a second remain.

    It goes by the time of the frames; None keeps all.

    It keeps to the rate's own grid, so that 20 of 30 frames a second are every second and third one; after a pause it
    does not catch up.
    """

    def __init__(self, fps: float | None) -> None:
        self._step = 1 / fps if fps else 0.0
        self._due: float | None = None

    def passes(self, moment: float) -> bool:
        """Tell whether the frame of that moment, in seconds, remains."""
        if not self._step:
            return True
        if self._due is None or moment - self._due >= self._step:
            self._due = moment
        elif moment < self._due - self._step / 50:  # time stamps are rounded
            return False
        self._due += self._step
        return True
