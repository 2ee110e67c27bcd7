"""An opened artifact under measurement: warm-up, turns of queries, AP.

It lives in a process of its own.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.runtime.pipeline import Pipeline
from edgeyolo_bench.facts import Machine
from edgeyolo_bench.facts.load import Spent, between, read_counters
from edgeyolo_bench.measure.scenarios import Scenario
from edgeyolo_bench.measure.steady import settle
from edgeyolo_bench.measure.stopwatch import harness_cost, make_query, timer_cost
from edgeyolo_bench.measure.workload import Workload
from edgeyolo_bench.values.measurement import AccuracyFacts, ArtifactFacts, ScenarioFacts, SteadyState

Progress = Callable[[int, int | None], None]
REFRESH_SECONDS = 0.05


@dataclass(frozen=True)
class Job:
    """One artifact to measure, and how.

    `name` and `target` together are what tables call it.

    The run is spread over so many `processes`, one after another, at most one for each turn.
    """

    name: str
    target: str
    artifact: Path
    scenario: Scenario
    workload: Workload
    threads: int | None = None
    random_weights: bool = False
    processes: int = 1

    @property
    def label(self) -> str:
        """The job's name and target."""
        return f"{self.name} {self.target}"


@dataclass(frozen=True)
class Opened:
    """Facts of a loaded artifact."""

    artifact: ArtifactFacts
    scenario: ScenarioFacts
    load_seconds: float
    timer_ms: float
    harness_ms: float


@dataclass(frozen=True)
class Turn:
    """Samples of one turn.

    `samples` (queries, stages) in milliseconds, `detections` (queries,), what was spent meanwhile, and how
    many queries at the start are in no figure because another artifact had the caches. `process` counts from
    0.
    """

    samples: NDArray[np.float64]
    detections: NDArray[np.int64]
    spent: Spent = field(default_factory=Spent)
    refreshed: int = 0
    process: int = 0


class Subject:
    """A loaded artifact with its queries. Closing releases the runtime's memory."""

    def __init__(self, job: Job) -> None:
        self._job, self._machine = job, Machine()
        begin = perf_counter()
        self.artifact = Artifact.open(job.artifact)
        verified = perf_counter()
        session = registry.open_session(self.artifact, threads=job.threads)
        self._load_seconds = perf_counter() - verified
        self._open_seconds = verified - begin
        manifest = self.artifact.manifest
        self._pipeline = Pipeline(session, manifest.input, manifest.output, manifest.class_names)
        try:
            self._query = make_query(self._pipeline, job.scenario, job.workload)
        except BaseException:
            session.close()
            raise
        self._judged = job.scenario.stages.index(job.scenario.judged)

    def describe(self) -> Opened:
        """Facts of the artifact, and what the harness costs here."""
        manifest, scenario = self.artifact.manifest, self._job.scenario
        return Opened(
            artifact_facts(self._job, self.artifact),
            scenario.facts(manifest.input),
            self._load_seconds,
            timer_cost(),
            harness_cost(scenario, manifest.input, manifest.output),
        )

    def warm_up(self) -> SteadyState:
        """Run until latency has settled.

        It takes at most as long as the measurement itself shall last (5 s at least).
        """
        return settle(lambda: self._query()[0][self._judged], limit=max(5.0, self._job.scenario.min_duration))

    def turn(self, seconds: float, count: int, *, refresh: bool) -> Turn:
        """Measure for `seconds` and `count` queries, whichever takes longer.

        If `refresh`, queries of the first 50 ms, one at least, are run and not counted: another artifact ran
        before.
        """
        refreshed = self._refresh() if refresh else 0
        rows: list[tuple[float, ...]] = []
        detections: list[int] = []
        before = read_counters(self._machine)
        begin = perf_counter()
        for _ in itertools.count():
            times, found = self._query()
            rows.append(times)
            detections.append(found)
            if len(rows) >= count and perf_counter() - begin >= seconds:
                break
        spent = between(before, read_counters(self._machine))
        return Turn(np.array(rows), np.array(detections, np.int64), spent, refreshed)

    def accuracy(self, data: str, split: str | None, progress: Progress) -> AccuracyFacts:
        """AP of the loaded artifact, on the session that was timed."""
        from edgeyolo.datasets import load_dataset
        from edgeyolo.evaluation.validate import validate

        dataset = load_dataset(data, split=split)
        result = validate(self._pipeline, dataset, artifact=self.artifact, progress=progress)
        metrics = dict(result.metrics)
        return AccuracyFacts(
            metrics.get("AP"), metrics.get("AP50"), result.protocol.data, result.protocol.images, metrics
        )

    def peak_memory(self) -> int | None:
        """Largest number of bytes this process has held.

        None where the system does not tell.
        """
        try:
            import resource
        except ImportError:  # Windows
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def close(self) -> None:
        """Release the runtime's memory."""
        self._pipeline.session.close()

    def _refresh(self) -> int:
        begin = perf_counter()
        for number in itertools.count(1):
            self._query()
            if perf_counter() - begin >= REFRESH_SECONDS:
                return number
        raise AssertionError("unreachable: itertools.count does not end")


def artifact_facts(job: Job, artifact: Artifact) -> ArtifactFacts:
    """Facts of an artifact in a report."""
    manifest = artifact.manifest
    return ArtifactFacts(
        name=job.name,
        sha256=artifact.sha256,
        model=manifest.model,
        target=str(manifest.target),
        backend=manifest.backend,
        precision=manifest.target.precision,
        size=manifest.input.size,
        batch=manifest.input.batch,
        classes=manifest.output.classes,
        bytes=artifact.size,
        parameters=manifest.parameters,
        gflops=manifest.gflops,
        weights=str(manifest.provenance.get("sha256", "")),
        tools=dict(manifest.tools),
        random_weights=job.random_weights,
    )
