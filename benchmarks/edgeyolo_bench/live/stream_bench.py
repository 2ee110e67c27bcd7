"""Streams through `Detector.stream`: frames a second, latency from capture, drops."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.detector.detector import Detector
from edgeyolo.errors import SourceError
from edgeyolo.stream.frame import Counts, Pixels
from edgeyolo.stream.open_source import is_camera, open_source
from edgeyolo_bench.live.report import StreamFacts
from edgeyolo_bench.measure.statistics import quantile, rate
from edgeyolo_bench.measure.subject import Job

QUANTILES = (0.5, 0.9, 0.99)
_LEAST_FRAMES = 2  # between which there is a time

Step = Callable[[str], None]


def measure_stream(job: Job, source: str, *, seconds: float, step: Step = lambda _: None) -> StreamFacts:
    """Measure one artifact on a film, images or a camera.

    A film is taken twice: every frame as fast as it goes, again and again for `seconds`, then played at its own pace as
    a camera would. A camera is taken once, as it comes.

    Raises SourceError for a source that gives no frames.
    """
    camera = is_camera(source)
    with Detector(job.artifact, threads=job.threads) as detector:
        moments = np.empty(0)
        if not camera:
            step(f"{job.label}: every frame of {source}")
            moments = _as_fast_as_it_goes(detector, source, seconds)
        step(f"{job.label}: {source} as it comes")
        pace = None if camera else _pace(source)
        given: Any = source if pace is None else _played(source, pace)
        waits, counts = _as_it_comes(detector, given, seconds)
    gaps = np.diff(moments)
    return StreamFacts(
        model=job.name,
        target=job.target,
        artifact=detector.artifact.sha256,
        source=source,
        rate=rate(np.maximum(gaps, 1e-9), 1) if len(gaps) else None,
        frames=len(moments),
        pace=pace,
        latency=tuple(quantile(waits * 1e3, q) for q in QUANTILES) if len(waits) else (),
        captured=counts.captured,
        delivered=len(waits),
        dropped=dict(counts.dropped),
    )


def _as_fast_as_it_goes(detector: Detector, source: str, seconds: float) -> NDArray[np.float64]:
    """Moments of the results, in seconds, without those of opening it again."""
    found: list[float] = []
    away = 0.0
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        opening = time.monotonic()
        with detector.stream(source) as stream:
            first = True
            for _ in stream:
                now = time.monotonic()
                if first and found:
                    away += now - opening
                elif found and now - begin > seconds:
                    return np.array(found)
                first = False
                found.append(now - away)
        if first:
            raise SourceError(f"{source}: expected frames, got none", hint="Is it a film that plays?")
    return np.array(found)


def _pace(source: str) -> float:
    """Frames a second of a film or of images, by the times of its first frames."""
    times = []
    with closing(open_source(source)) as frames:
        for frame in frames:
            times.append(frame.time)
            if len(times) > 30:
                break
    if len(times) < _LEAST_FRAMES or times[-1] <= times[0]:
        raise SourceError(
            f"{source}: expected a film, got {len(times)} frame(s)", hint="Measure images without --source."
        )
    return (len(times) - 1) / (times[-1] - times[0])


def _played(source: str, pace: float) -> Iterator[tuple[float, Pixels]]:
    """Frames with their moments on our clock, as from a camera of this pace.

    There is no end to them.
    """
    due = time.monotonic()
    while True:
        with closing(open_source(source)) as frames:
            for frame in frames:
                image = frame.image  # decoded before it is due: a camera's picture is there at its moment
                due += 1 / pace
                time.sleep(max(due - time.monotonic(), 0))
                due = max(due, time.monotonic() - 1 / pace)  # where decoding is slower than the film
                yield time.monotonic(), image


def _as_it_comes(detector: Detector, source: Any, seconds: float) -> tuple[NDArray[np.float64], Counts]:
    """Seconds from capture to result of the freshest frames, and what was dropped."""
    waits: list[float] = []
    end = time.monotonic() + seconds
    with detector.stream(source, policy="freshest") as stream:
        for frame, _ in stream:
            waits.append(time.monotonic() - frame.time)
            if time.monotonic() > end:
                break
        counts = stream.progress.counts
    return np.array(waits), counts
