"""Table 10's second threshold.

AP of the measured artifacts with a suppression by IoU 0.70, beside the usual 0.65.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from edgeyolo.artifact.artifact import Artifact
from edgeyolo_bench.measure.measure import Labelled, Listener
from edgeyolo_bench.measure.subject import Job
from edgeyolo_bench.paper.beside_paper import METRIC, OTHER_IOU
from edgeyolo_bench.values.measurement import AccuracyFacts, Measurement
from edgeyolo_bench.values.report import Report


def with_other_iou(report: Report, jobs: Iterable[Job], labelled: Labelled, listener: Listener) -> Report:
    """The report with AP at the other threshold.

    It stands in the metrics of every measurement that has an AP.
    """
    from edgeyolo.datasets import load_dataset
    from edgeyolo.evaluation.validate import open_to_judge, validate

    dataset = load_dataset(labelled.data, split=labelled.split)
    found: dict[str, float | None] = {}
    for job in jobs:
        artifact = Artifact.open(job.artifact)
        listener.step(f"measuring AP of {job.label} at IoU {OTHER_IOU:g}")
        with open_to_judge(artifact) as (pipeline, _):
            result = validate(pipeline, dataset, artifact=artifact, iou=OTHER_IOU, progress=listener.images)
        found[artifact.sha256] = result.metrics["AP"]
    return replace(report, measurements=tuple(_with(item, found) for item in report.measurements))


def _with(item: Measurement, found: dict[str, float | None]) -> Measurement:
    accuracy: AccuracyFacts | None = item.accuracy
    if accuracy is None or item.artifact.sha256 not in found:
        return item
    metrics = {**accuracy.metrics, METRIC: found[item.artifact.sha256]}
    return replace(item, accuracy=replace(accuracy, metrics=metrics))
