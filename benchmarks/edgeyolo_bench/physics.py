"""The physics check of a report: every measurement on a CPU placed under limits that were measured beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from edgeyolo.artifact import Artifact
from edgeyolo.manifest import Manifest
from edgeyolo_bench.measurement import Measurement
from edgeyolo_bench.peaks import Peaks, measure_peaks
from edgeyolo_bench.report import Report
from edgeyolo_bench.roofline import Limits, Placement, bugs, place
from edgeyolo_bench.subject import Job

MEASURED_DEVICES = ("cpu",)  # whose limits `measure_peaks` measures


def with_limits(
    report: Report, jobs: Iterable[Job], *, threads: int | None = None, measure: Callable[[int], Peaks] = measure_peaks
) -> Report:  # fmt: skip
    """The report with the roofline of its device and a warning for whatever cannot be true.

    The limits of a busy machine are measured too low, so there "impossible" is no more than "above-peak". `threads` are
    the measurements ran with, None for every core the process may use. A report without a measurement on the CPU
    comes back as it is.
    """
    manifests = {job.label: Artifact.open(job.artifact).manifest for job in jobs}
    own = [item for item in report.measurements if item.artifact.target.split("-")[0] in MEASURED_DEVICES]
    if not own:
        return report
    device = report.device(own[0].device)
    peaks = measure(threads or max(int(device.cpu.available), 1))
    placed = (_place(item, manifests[item.label], peaks) for item in own)
    found = tuple(item for item in placed if item)
    if device.interference.busy:
        found = tuple(_doubtful(item) for item in found)
    limits = Limits(device.name, peaks, found)
    return replace(report, limits=(limits,), warnings=(*report.warnings, *bugs([limits])))


def _place(item: Measurement, manifest: Manifest, peaks: Peaks) -> Placement | None:
    stage = item.stage("inference")
    if stage is None or not stage.quantile(0.5).reportable:
        return None
    batch, images = item.scenario.batch, item.scenario.query_images
    milliseconds = stage.median * batch / images  # of one call of the network
    return place(manifest, peaks, device=item.device, label=item.label, latency_ms=milliseconds, batch=batch)


def _doubtful(item: Placement) -> Placement:
    return replace(item, verdict="above-peak") if item.verdict == "impossible" else item


def impossible(report: Report) -> bool:
    """Whether the report holds a result that no machine of these limits can give."""
    return any(item.verdict == "impossible" for limits in report.limits for item in limits.placements)
