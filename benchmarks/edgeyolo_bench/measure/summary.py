"""Summary of a run's samples as its Measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeyolo_bench.facts.load import Spent, judge
from edgeyolo_bench.measure.early_stopping import early_stopping
from edgeyolo_bench.measure.statistics import (
    CONFIDENCE,
    block_medians,
    histogram,
    least_count,
    order_interval,
    quantile,
    rate,
)
from edgeyolo_bench.measure.steady import judge_run
from edgeyolo_bench.measure.subject import Job, Opened, Turn
from edgeyolo_bench.values.measurement import (
    AccuracyFacts,
    Comparison,
    Measurement,
    Overhead,
    Quantile,
    Rate,
    StageSummary,
    SteadyState,
)

QUANTILES = (0.5, 0.9, 0.95, 0.99)
_TIMELINE = 100
_MOST_OVERHEAD = 0.01


@dataclass
class Run:
    """Measurements of one artifact so far."""

    job: Job
    opened: Opened
    warm: SteadyState
    turns: list[Turn] = field(default_factory=list)
    accuracy: AccuracyFacts | None = None
    peak_memory: int | None = None

    @property
    def samples(self) -> NDArray[np.float64]:
        """(queries, stages) in milliseconds, in the order they were taken."""
        return np.concatenate([turn.samples for turn in self.turns])

    @property
    def processes(self) -> NDArray[np.int64]:
        """(queries,) the number of the process that each was taken in."""
        return np.concatenate([np.full(len(turn.samples), turn.process) for turn in self.turns])

    @property
    def judged(self) -> NDArray[np.float64]:
        """(queries,) milliseconds of the stage that the scenario reports."""
        scenario = self.job.scenario
        return self.samples[:, scenario.stages.index(scenario.judged)]

    @property
    def spent(self) -> Spent:
        """The machine's counters over the turns."""
        return sum((turn.spent for turn in self.turns), Spent())


def summarize(run: Run, device: str, cores: float, *, interrupted: bool) -> Measurement:
    """The Measurement of a run with at least one turn.

    `cores` are those the process may use.
    """
    scenario, facts = run.job.scenario, run.opened.scenario
    judged, spent = run.judged, run.spent
    groups = run.processes
    latency = quantile(judged, scenario.percentile, groups=groups) if scenario.percentile else None
    throughput = rate(judged / 1e3, facts.query_images, processes=int(groups.max()) + 1)
    steady = judge_run(run.warm, judged)
    median = float(np.median(judged))
    overhead = Overhead(run.opened.timer_ms, run.opened.harness_ms, run.opened.harness_ms / median)
    reasons = _reasons(run, latency, throughput)
    found = np.concatenate([turn.detections for turn in run.turns])
    detections = float(found.mean()) / facts.query_images
    return Measurement(
        device=device,
        artifact=run.opened.artifact,
        scenario=facts,
        threads=run.job.threads,
        images=run.job.workload.facts,
        stages=tuple(
            _stage(name, run.samples[:, column], scenario.percentile, groups)
            for column, name in enumerate(scenario.stages)
        ),
        latency=latency,
        throughput=throughput,
        reportable=not reasons,
        reasons=reasons,
        steady=steady,
        overhead=overhead,
        duration=float(judged.sum()) / 1e3,
        load_seconds=run.opened.load_seconds,
        cores_used=spent.own / spent.seconds if spent.seconds else None,
        peak_memory=run.peak_memory,
        detections=detections,
        accuracy=run.accuracy,
        warnings=_warnings(run, steady, overhead, detections, judge(spent, None, cores).busy),
        processes=int(groups.max()) + 1,
        interrupted=interrupted,
        early_stopping=early_stopping(judged, scenario.percentile)
        if scenario.percentile and not scenario.inference_only
        else None,
    )


def compare_runs(runs: Sequence[Run], device: str) -> tuple[Comparison, ...]:
    """Compare every artifact with the first.

    It goes by the medians of the turns they took one after the other.
    """
    found = []
    for other in runs[1:]:
        first, second = runs[0], other
        pairs = min(len(first.turns), len(second.turns))
        ratios = np.sort(_turn_medians(second)[:pairs] / _turn_medians(first)[:pairs])
        low, high = order_interval(pairs, 0.5)
        found.append(
            Comparison(
                device=device,
                first=first.job.label,
                second=second.job.label,
                stage=first.job.scenario.judged,
                ratio=float(np.median(ratios)),
                low=None if low is None else float(ratios[low - 1]),
                high=None if high is None else float(ratios[high - 1]),
                confidence=CONFIDENCE,
                pairs=pairs,
            )
        )
    return tuple(found)


def _turn_medians(run: Run) -> NDArray[np.float64]:
    column = run.job.scenario.stages.index(run.job.scenario.judged)
    return np.array([np.median(turn.samples[:, column]) for turn in run.turns])


def _stage(
    name: str, samples: NDArray[np.float64], percentile: float | None, groups: NDArray[np.int64]
) -> StageSummary:
    wanted = sorted({*QUANTILES, *([percentile] if percentile else [])})
    return StageSummary(
        name=name,
        count=len(samples),
        mean=float(samples.mean()),
        minimum=float(samples.min()),
        maximum=float(samples.max()),
        quantiles=tuple(quantile(samples, q, groups=groups) for q in wanted),
        histogram=histogram(samples),
        timeline=tuple(block_medians(samples, _TIMELINE).tolist()),
    )


def _reasons(run: Run, latency: Quantile | None, throughput: Rate) -> tuple[str, ...]:
    """Reasons why the run's figures may not be quoted.

    Nothing where they may.
    """
    scenario, count, seconds = run.job.scenario, len(run.judged), float(run.judged.sum()) / 1e3
    said = []
    if count < scenario.min_count:
        said.append(f"{count} of {scenario.min_count} queries were run")
    if seconds < scenario.min_duration and len(run.turns) < scenario.turns:
        said.append(f"it lasted {seconds:.1f} s of {scenario.min_duration:g} s")
    if latency is not None and not latency.reportable:
        worth = f", worth {latency.effective} independent ones," if latency.effective < count else ""
        said.append(
            f"{count} queries{worth} are too few for {latency.name} at {latency.confidence:.0%}, which takes "
            f"{least_count(latency.q, latency.confidence)}"
        )
    if throughput.low is None and (latency is None or scenario.inference_only):
        said.append(f"{count} queries are too few for an interval of the rate")
    return tuple(said)


def _warnings(
    run: Run, steady: SteadyState, overhead: Overhead, detections: float, busy: tuple[str, ...]
) -> tuple[str, ...]:
    said = [*run.job.workload.warnings, *busy]
    if not run.warm.reached:
        said.append(
            f"no steady state before the run: after {run.warm.discarded} queries latency still changed"
        )
    elif not steady.reached and steady.drift is not None:
        said.append(f"latency drifted by {steady.drift:+.1%} during the run: no steady state")
    if overhead.share > _MOST_OVERHEAD:
        said.append(f"the harness costs {overhead.share:.1%} of a query")
    if not run.job.scenario.inference_only and not detections:
        said.append("nothing was detected in any image: post-processing had nothing to do")
    facts = run.opened.scenario
    if facts.query_images % facts.batch:
        said.append(
            f"the network runs {facts.batch} images at a time, a query has {facts.query_images}: padded"
        )
    if run.job.random_weights:
        said.append("random weights: for speed only")
    return tuple(said)
