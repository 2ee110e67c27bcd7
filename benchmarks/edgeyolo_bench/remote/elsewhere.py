"""Commands `edgeyolo bench --remote` and `--fleet`.

Export here, measure there, AP here on the very same artifacts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo_bench.measure.jobs import Wanted, make_jobs
from edgeyolo_bench.measure.measure import SILENT, Labelled, Listener
from edgeyolo_bench.measure.subject import Job
from edgeyolo_bench.remote.device import measure_remotely
from edgeyolo_bench.remote.fleet import Member
from edgeyolo_bench.values.measurement import AccuracyFacts
from edgeyolo_bench.values.report import Report, gather, merge


def measure_elsewhere(
    members: Sequence[Member],
    models: Sequence[Path],
    wanted: Wanted,
    *,
    labelled: Labelled | None = None,
    limits: bool = True,
    command: str = "",
    listener: Listener = SILENT,
) -> Report:
    """The report of `models` on every device.

    See `gather` for what becomes of one that fails.

    AP does not depend on the machine but on the artifact and its arithmetic, so it is measured here, by the artifact's
    own runtime or its stand-in, and the report says so.
    """
    judged: dict[str, AccuracyFacts] = {}

    def measure(member: Member) -> Report:
        listener.step(f"preparing {member.name}")
        here = replace(wanted, runs_here=False, targets=member.targets or wanted.targets)
        jobs, failures = make_jobs(models, here, listener.step, listener.remark)
        report = measure_remotely(
            member.remote,
            jobs,
            limits=limits,
            hear=lambda line: listener.step(f"{member.name}: {line.removesuffix(' ...')}"),
        )
        if labelled is not None and not report.interrupted:
            _judge(jobs, labelled, judged, listener)
        return replace(
            report,
            measurements=tuple(
                replace(item, accuracy=judged.get(item.artifact.sha256)) for item in report.measurements
            ),
            failures=(*failures, *report.failures),
        )

    return replace(gather(members, measure, lambda member: member.name, merge), command=command)


def _judge(
    jobs: Sequence[Job], labelled: Labelled, judged: dict[str, AccuracyFacts], listener: Listener
) -> None:
    """AP of each artifact, once for all devices."""
    from edgeyolo.datasets import load_dataset
    from edgeyolo.evaluation.validate import open_to_judge, validate

    dataset = load_dataset(labelled.data, split=labelled.split)
    for job in jobs:
        artifact = Artifact.open(job.artifact)
        if artifact.sha256 in judged:
            continue
        listener.step(f"measuring AP of {job.label}")
        with open_to_judge(artifact) as (pipeline, stand_in):
            result = validate(pipeline, dataset, artifact=artifact, progress=listener.images)
        metrics = dict(result.metrics)
        who = f"{stand_in or artifact.manifest.backend}, on the machine that asked"
        judged[artifact.sha256] = AccuracyFacts(
            metrics.get("AP"), metrics.get("AP50"), result.protocol.data, result.protocol.images, metrics, who
        )
