"""Measure artifacts on this machine: load, warm up, take turns, judge AP, report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from edgeyolo.errors import EdgeYoloError
from edgeyolo.version import __version__
from edgeyolo_bench.facts import Machine, Watch
from edgeyolo_bench.facts.load import Spent, judge
from edgeyolo_bench.measure.subject import Job
from edgeyolo_bench.measure.summary import Run, compare_runs, summarize
from edgeyolo_bench.measure.worker import Worker
from edgeyolo_bench.values.device import DeviceFacts
from edgeyolo_bench.values.measurement import Failure
from edgeyolo_bench.values.report import Report


@dataclass(frozen=True)
class Labelled:
    """The labelled images that AP is measured on."""

    data: str
    split: str | None = None


@dataclass(frozen=True)
class Listener:
    """Listener to the progress of a measurement.

    It is told the `step` of what is being done, `turns` and `images` (done, in all), and a `remark` that stays.
    """

    step: Callable[[str], None] = lambda _: None
    turns: Callable[[int, int | None], None] = lambda done, total: None
    images: Callable[[int, int | None], None] = lambda done, total: None
    remark: Callable[[str], None] = lambda _: None


SILENT = Listener()


@dataclass
class _Bench:
    """One call's workers, what they gave, and what went wrong."""

    workers: dict[str, Worker] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    errors: list[EdgeYoloError] = field(default_factory=list)

    def close(self) -> None:
        """End every process."""
        for worker in self.workers.values():
            worker.close()

    def fail(self, name: str, error: EdgeYoloError) -> None:
        """Note what went wrong."""
        self.failures.append(Failure.of(name, error))
        self.errors.append(error)

    @contextmanager
    def survives(self, name: str) -> Iterator[None]:
        """An artifact that fails is noted and left out from here on; the others go on."""
        try:
            yield
        except EdgeYoloError as error:
            self.fail(name, error)
            self.workers.pop(name).close()
            self.runs.pop(name, None)


def measure(
    jobs: Sequence[Job],
    failures: Sequence[Failure] = (),
    *,
    labelled: Labelled | None = None,
    device: str = "",
    command: str = "",
    listener: Listener = SILENT,
) -> Report:
    """Measure every job, in turns where there are several, and report.

    Jobs have different labels; `failures` are what could not become one.

    An artifact that fails is in the report's `failures`; where all fail, the first error is raised. Ctrl-C ends the
    measurement with a report of what was completed, marked `interrupted`; before anything was, it is raised.

    Processes are started for the artifacts: a script calls this below `if __name__ == "__main__":`.
    """
    watch, bench, interrupted = Watch(Machine(), device), _Bench(failures=list(failures)), False
    with ExitStack() as stack:
        stack.callback(bench.close)
        try:
            _open(bench, jobs, listener)
            _take_turns(bench, listener)
            watch.look_again()
            _judge(bench, labelled, listener)
        except KeyboardInterrupt:
            interrupted = True
            if not any(run.turns for run in bench.runs.values()):
                raise
    if bench.errors and not bench.runs:
        raise bench.errors[0]
    return _report(bench, watch, command, interrupted=interrupted)


def _open(bench: _Bench, jobs: Sequence[Job], listener: Listener) -> None:
    """Load and warm up each artifact, one after another."""
    for job in jobs:
        listener.step(f"loading {job.label}")
        bench.workers[job.label] = Worker(job)
        with bench.survives(job.label):
            opened = bench.workers[job.label].open()
            listener.step(f"warming up {job.label}")
            bench.runs[job.label] = Run(job, opened, bench.workers[job.label].warm_up())


def _take_turns(bench: _Bench, listener: Listener) -> None:
    """Measure in turns: A B A B ...

    Each turn ends when its share of the least duration and count is reached.
    """
    turns = min((run.job.scenario.turns for run in bench.runs.values()), default=0)
    total, several = turns * len(bench.runs), len(bench.runs) > 1
    done = 0
    listener.turns(done, total)
    for number in range(turns):
        for name in list(bench.runs):
            with bench.survives(name):
                _take_turn(bench, name, number, turns, refresh=several)
            done += 1
            listener.turns(done, total)


def _take_turn(bench: _Bench, name: str, number: int, turns: int, *, refresh: bool) -> None:
    """Turn `number` of `turns`, counted from 0.

    In a new process where the run is spread over several.
    """
    run, share = bench.runs[name], (number + 1) / turns
    process = number * min(run.job.processes, turns) // turns
    if run.turns and process != run.turns[-1].process:
        bench.workers[name].close()
        bench.workers[name] = Worker(run.job)
        bench.workers[name].open()
        again = bench.workers[name].warm_up()
        run.warm = replace(
            again, reached=again.reached and run.warm.reached, discarded=again.discarded + run.warm.discarded
        )
    measured = sum(turn.spent.seconds for turn in run.turns)
    counted = sum(len(turn.samples) for turn in run.turns)
    seconds = max(share * run.job.scenario.min_duration - measured, 0.0)
    count = max(math.ceil(share * run.job.scenario.min_count) - counted, 1)
    turn = bench.workers[name].turn(seconds, count, refresh=refresh)
    run.turns.append(replace(turn, process=process))


def _judge(bench: _Bench, labelled: Labelled | None, listener: Listener) -> None:
    """Memory, and AP of the very sessions that were timed.

    Without AP what was timed still stands.
    """
    for name, run in bench.runs.items():
        worker = bench.workers[name]
        try:
            run.peak_memory = worker.peak_memory()
            if labelled is not None:
                listener.step(f"measuring AP of {name}")
                run.accuracy = worker.accuracy(labelled.data, labelled.split, listener.images)
        except EdgeYoloError as error:
            bench.fail(f"AP of {name}" if labelled else name, error)


def _integers_without_gain(device: DeviceFacts, runs: Sequence[Run]) -> Iterator[str]:
    artifacts = [run.opened.artifact for run in runs]
    on_cpu = any(each.target.startswith("cpu-") and each.precision == "int8" for each in artifacts)
    if on_cpu and device.cpu.multiplies_integers is False:
        yield (
            f"{device.cpu.model} has no instructions for integers (VNNI, dot products), only "
            f"{', '.join(device.cpu.features)}: INT8 gains less here than where there are some"
        )


def _report(bench: _Bench, watch: Watch, command: str, *, interrupted: bool) -> Report:
    runs = [run for run in bench.runs.values() if run.turns]
    cores, name = watch.device.cpu.available, watch.device.name
    spent = sum((run.spent for run in runs), Spent())
    device = watch.finish(judge(spent, watch.load, cores))
    return Report(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeyolo=__version__,
        devices=(device,),
        measurements=tuple(summarize(run, name, cores, interrupted=interrupted) for run in runs),
        comparisons=compare_runs(runs, name) if runs else (),
        failures=tuple(bench.failures),
        warnings=(*device.interference.busy, *device.throttling, *_integers_without_gain(device, runs)),
        command=command,
        interrupted=interrupted,
    )
