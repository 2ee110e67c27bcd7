"""The artifact that `--max-latency` chooses, and by how much."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """The best AP within a latency, on one device.

    `figure` is the scenario's percentile (p90) that the limit was held against: an artifact is within it where the
    upper end of the interval is. `best` is the label of the chosen one, "" where none is within; `latency_ms`,
    `high_ms` and `spare_ms` are its percentile, the upper end and what the end leaves of the limit. `ap` is a fraction
    of 1, `ahead` points (hundredths) before `second`, the next best within, None where there is none. `beyond` is the
    label of the best that is not within, `missed` the points that it has more and `over_ms` its milliseconds above
    the limit. `unsure` are labels whose percentile is within but not the end of its interval, `unjudged` those without
    a quotable latency or an AP.
    """

    device: str
    limit_ms: float
    figure: str
    best: str = ""
    latency_ms: float | None = None
    high_ms: float | None = None
    spare_ms: float | None = None
    ap: float | None = None
    second: str = ""
    ahead: float | None = None
    beyond: str = ""
    missed: float | None = None
    over_ms: float | None = None
    unsure: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
