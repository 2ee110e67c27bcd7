"""Findings of one measurement, as frozen values.

Times are in milliseconds unless a name says seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeyolo.errors import EdgeYoloError, UsageError

STAGES = ("decode", "preprocess", "inference", "postprocess", "end-to-end")
"""Stages of a query in their order; "end-to-end" is from encoded file to detections, timed on its own clock."""


@dataclass(frozen=True)
class Quantile:
    """A quantile of a latency with its interval.

    It has the `q` quantile (0.9: p90) of a latency and the order-statistic interval that holds it with at
    least `confidence`; an end is None where there are too few samples for it (then `reportable` is False).
    `effective` is how many independent samples the interval counts: fewer than were taken where queries
    depend on each other.
    """

    q: float
    value: float
    low: float | None
    high: float | None
    confidence: float
    reportable: bool
    effective: int = 0

    @property
    def name(self) -> str:
        """Name such as `p90`, `p99.9`."""
        return f"p{100 * self.q:g}"


@dataclass(frozen=True)
class Rate:
    """Images a second with a block-bootstrap interval.

    The interval holds the rate with `confidence`; the ends are None where there are too few blocks.
    """

    value: float
    low: float | None
    high: float | None
    confidence: float


@dataclass(frozen=True)
class Histogram:
    """Histogram of latencies.

    `counts[i]` samples lie in [`edges[i]`, `edges[i + 1]`); edges are spaced geometrically, nothing is cut
    off.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class StageSummary:
    """The distribution of one stage over the queries of a steady run.

    Milliseconds of a query (all its images).

    `timeline` are the medians of up to 100 consecutive stretches, so that drift can be seen.
    """

    name: str
    count: int
    mean: float
    minimum: float
    maximum: float
    quantiles: tuple[Quantile, ...]
    histogram: Histogram
    timeline: tuple[float, ...] = ()

    def quantile(self, q: float) -> Quantile:
        """The quantile `q`, one of 0.5, 0.9, 0.95, 0.99 and the scenario's own."""
        for item in self.quantiles:
            if abs(item.q - q) < 1e-9:
                return item
        raise UsageError(
            f"{self.name}: no quantile {q:g} here", hint=f"Kept: {[i.q for i in self.quantiles]}"
        )

    @property
    def median(self) -> float:
        """p50."""
        return self.quantile(0.5).value


@dataclass(frozen=True)
class ScenarioFacts:
    """Protocol of a scenario.

    `name` is "single-stream", "multi-stream", "offline" or "paper"; a query holds `query_images` images, run
    `batch` at a time; `percentile` is the one it reports (None: throughput only); `judged` is the stage that
    it is taken from. Both `min_duration` (s) and `min_count` (queries) were demanded. Images were drawn with
    `seed`, or came one after the other where it is None.
    """

    name: str
    query_images: int
    batch: int
    percentile: float | None
    judged: str
    min_duration: float
    min_count: int
    seed: int | None = None


@dataclass(frozen=True)
class ArtifactFacts:
    """Facts of the measured artifact.

    `sha256` of the artifact, `size` = (height, width), `bytes` of the runtime's files, `parameters` (values
    of the re-parameterized network) and `gflops` (for one image of `size`, two per multiply-add) where they
    are known, `weights` the SHA-256 of the weights it was made from, `tools` package versions it was made
    with, `random_weights` whether it was made for its speed only.
    """

    name: str
    sha256: str
    model: str
    target: str
    backend: str
    precision: str
    size: tuple[int, int]
    batch: int
    classes: int
    bytes: int
    parameters: int | None = None
    gflops: float | None = None
    weights: str = ""
    tools: Mapping[str, str] = field(default_factory=dict)
    random_weights: bool = False


@dataclass(frozen=True)
class ImageFacts:
    """The images it ran on.

    `source` is "generated" or the folder's name, `sha256` identifies content and order, `pixels` are the mean
    (height, width), `encoding` how they were stored ("jpeg", "png" ...).
    """

    source: str
    count: int
    sha256: str
    pixels: tuple[float, float]
    encoding: str


@dataclass(frozen=True)
class SteadyState:
    """Steadiness of the latency.

    `discarded` queries before that are in no figure; `drift` is the change of the median from the first to
    the last third of what was kept, relative; `trend_p` the probability of such a trend or change of level in
    a steady run (Mann-Kendall and Pettitt on block medians).
    """

    reached: bool
    discarded: int
    drift: float | None = None
    trend_p: float | None = None


@dataclass(frozen=True)
class Overhead:
    """Cost of measuring.

    `timer_ms` one reading of the clock, `harness_ms` a query through an empty network and empty stages,
    `share` of the median query.
    """

    timer_ms: float
    harness_ms: float
    share: float


@dataclass(frozen=True)
class AccuracyFacts:
    """AP of the very artifact that was timed.

    They are fractions of 1, on `images` images of `data`; `metrics` holds COCO's twelve numbers (None: no
    such object); `stand_in` says what ran it where its device is absent, "" for its own.
    """

    ap: float | None
    ap50: float | None
    data: str
    images: int
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    stand_in: str = ""


@dataclass(frozen=True)
class EarlyStopping:
    """MLPerf's estimate of a percentile.

    The highest latency that is left of `queries` after `discarded` are taken away, in milliseconds: with `confidence`
    the share `percentile` of all queries stays below. None where there are fewer queries than `needed`.
    """

    percentile: float
    confidence: float
    queries: int
    needed: int
    discarded: int
    value: float | None


@dataclass(frozen=True)
class Measurement:
    """One artifact in one scenario on one device.

    `device` is a name in `Report.devices`.

    `threads` is what was asked for, None for the runtime's own default; `cores_used` the processor time spent a
    second. `load_seconds` is the time from an artifact's files to a session; `detections` are found in a mean image.
    The run was spread over so many `processes`: with several, the intervals hold what differs between them too.
    `latency` is the scenario's percentile; where `reportable` is False, `reasons` say why, and neither it nor the
    throughput may be quoted. `early_stopping` is of single-stream and multi-stream.
    """

    device: str
    artifact: ArtifactFacts
    scenario: ScenarioFacts
    threads: int | None
    images: ImageFacts
    stages: tuple[StageSummary, ...]
    latency: Quantile | None
    throughput: Rate
    reportable: bool
    reasons: tuple[str, ...]
    steady: SteadyState
    overhead: Overhead
    duration: float
    load_seconds: float
    cores_used: float | None = None
    peak_memory: int | None = None
    detections: float = 0.0
    accuracy: AccuracyFacts | None = None
    warnings: tuple[str, ...] = ()
    processes: int = 1
    interrupted: bool = False
    early_stopping: EarlyStopping | None = None

    @property
    def label(self) -> str:
        """Label in tables."""
        return f"{self.artifact.name} {self.artifact.target}"

    def stage(self, name: str) -> StageSummary | None:
        """The stage `name` of STAGES, None where the scenario does not run it."""
        return next((item for item in self.stages if item.name == name), None)


@dataclass(frozen=True)
class Comparison:
    """Comparison of `second` with `first` (labels), in turns on `device`.

    The ratio of their latencies pair by pair, its median and interval; below 1 the second is faster. `pairs`
    is how many.
    """

    device: str
    first: str
    second: str
    stage: str
    ratio: float
    low: float | None
    high: float | None
    confidence: float
    pairs: int


@dataclass(frozen=True)
class Failure:
    """Something that was asked for and could not be measured.

    A model, a target or a device.
    """

    what: str
    message: str
    hint: str = ""
    exit_code: int = 1

    @classmethod
    def of(cls, what: str, error: EdgeYoloError) -> Failure:
        """Failure of `what` by an error."""
        return cls(what, error.message, error.hint, error.exit_code)


@dataclass(frozen=True)
class Change:
    """A figure beside that of a baseline report.

    `ratio` is now / before; `worse` whether it is worse by more than `tolerance` (a share of 1), `certain`
    whether the two intervals do not overlap.
    """

    what: str
    figure: str
    before: float
    now: float
    ratio: float
    tolerance: float
    worse: bool
    certain: bool
