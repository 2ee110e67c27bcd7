"""The physics check of a report.

Measurements placed under limits of their device that were measured beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.artifact.target import Target
from edgeyolo.backend.devices import device_of
from edgeyolo_bench.limits.gpu_peaks import measure_gpu_peaks
from edgeyolo_bench.limits.peaks import Peaks, measure_peaks
from edgeyolo_bench.limits.roofline import Limits, Placement, bugs, place
from edgeyolo_bench.measure.subject import Job
from edgeyolo_bench.values.measurement import Measurement
from edgeyolo_bench.values.report import Report


def with_limits(
    report: Report,
    jobs: Iterable[Job],
    *,
    threads: int | None = None,
    measure: Callable[[int], Peaks] = measure_peaks,
    measure_gpu: Callable[[], Peaks | None] = measure_gpu_peaks,
) -> Report:
    """The report with the rooflines of its devices.

    They are those of its CPU and NVIDIA GPU. It also has a warning for whatever cannot be true.

    The limits of a busy machine are measured too low, so there "impossible" is no more than "above-peak". `threads` are
    those the measurements ran with on the CPU, None for every core the process may use. Where only other devices were
    measured, whose limits nothing here measures, the report comes back as it is.
    """
    manifests = {job.label: Artifact.open(job.artifact).manifest for job in jobs}
    limits = []
    for kind in ("cpu", "cuda"):
        own = [item for item in report.measurements if _kind(item) == kind]
        if not own:
            continue
        device = report.device(own[0].device)
        cores = threads or max(int(device.cpu.available), 1)
        peaks = measure(cores) if kind == "cpu" else measure_gpu()
        if peaks is not None:
            found = [item for item in (_place(item, manifests[item.label], peaks) for item in own) if item]
            if device.interference.busy:
                found = [_doubtful(item) for item in found]
            limits.append(Limits(device.name, peaks, tuple(found), kind))
    if not limits:
        return report
    return replace(report, limits=tuple(limits), warnings=(*report.warnings, *bugs(limits)))


def _kind(item: Measurement) -> str:
    return device_of(Target.parse(item.artifact.target)).kind


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
    """Return True if a result exceeds the limits of any such machine."""
    return any(item.verdict == "impossible" for limits in report.limits for item in limits.placements)
