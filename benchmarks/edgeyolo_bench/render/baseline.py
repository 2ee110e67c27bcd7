"""A report beside an earlier one: what became worse, and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edgeyolo.errors import UsageError
from edgeyolo_bench.values.measurement import Change, Failure, Measurement
from edgeyolo_bench.values.report import Report

Interval = tuple[float | None, float | None]


def compare(now: Report, before: Report, tolerance: float) -> Report:
    """Add to `now` its changes since an earlier report.

    They are the changes of every figure that both reports hold, and what could not be compared.

    Latency and rate are compared by their ratio, AP too; `tolerance` is a share of 1. A measurement that is not
    reportable on either side is a failure: it must not pass as unchanged.

    Raises:
        UsageError: the reports have no measurement in common.
    """
    ours, theirs = _by_key(now, before)
    pairs = [(item, theirs[key]) for key, item in ours.items() if key in theirs]
    if not pairs:
        held = ", ".join(sorted({item.label for item in before.measurements}))
        raise UsageError(
            f"the baseline holds none of what was measured, but {held or 'nothing'}",
            hint="Measure the same models, targets, sizes and scenario.",
        )
    fit = [(item, old) for item, old in pairs if item.reportable and old.reportable]
    return replace(
        now,
        changes=tuple(change for item, old in fit for change in _changes(item, old, tolerance)),
        failures=(*now.failures, *(_unfit(item, old) for item, old in pairs if (item, old) not in fit)),
        warnings=(*now.warnings, *_notes(now, before)),
    )


def _unfit(now: Measurement, before: Measurement) -> Failure:
    which, side = ("this run", now) if not now.reportable else ("the baseline", before)
    return Failure(
        now.label,
        f"cannot be compared: {which} is not reportable ({'; '.join(side.reasons)})",
        "Measure longer: --min-duration, --min-count.",
    )


def _notes(now: Report, before: Report) -> Iterator[str]:
    ours, theirs = _by_key(now, before)
    for key, item in ours.items():
        if key not in theirs:
            yield f"{item.label}: not in the baseline"
        elif now.device(item.device).cpu.model != before.device(theirs[key].device).cpu.model:
            yield f"{item.label}: the baseline is of another device, {theirs[key].device}"
    yield from (f"{item.label}: in the baseline only" for key, item in theirs.items() if key not in ours)


def _by_key(now: Report, before: Report) -> list[dict[tuple[object, ...], Measurement]]:
    """Measurements by what makes two of them the same; of fleets the device does, too."""
    fleet = max(len(now.devices), len(before.devices)) > 1
    return [
        {
            (
                item.device if fleet else "", item.artifact.name, item.artifact.target, item.artifact.size,
                item.scenario.name, item.scenario.query_images,
            ): item
            for item in report.measurements
        }
        for report in (now, before)
    ]  # fmt: skip


def _changes(now: Measurement, before: Measurement, tolerance: float) -> Iterator[Change]:
    stage, old = now.stage(now.scenario.judged), before.stage(before.scenario.judged)
    if stage is not None and old is not None:
        for q in sorted({0.5, now.scenario.percentile or 0.5}):
            one, other = stage.quantile(q), old.quantile(q)
            yield _change(
                now.label, f"{one.name} ms", other.value, one.value, tolerance,
                certain=_apart((one.low, one.high), (other.low, other.high)), worse_if_more=True,
            )  # fmt: skip
    rate, was = now.throughput, before.throughput
    yield _change(
        now.label, "images/s", was.value, rate.value, tolerance,
        certain=_apart((rate.low, rate.high), (was.low, was.high)), worse_if_more=False,
    )  # fmt: skip
    if now.accuracy and before.accuracy and now.accuracy.data == before.accuracy.data:
        ap, earlier = now.accuracy.ap, before.accuracy.ap
        if ap is not None and earlier:
            # The same images and the same artifact give the same AP: what differs is certain.
            yield _change(now.label, "AP", earlier, ap, tolerance, certain=ap != earlier, worse_if_more=False)


def _change(
    what: str, figure: str, before: float, now: float, tolerance: float, *, certain: bool, worse_if_more: bool
) -> Change:
    ratio = now / before
    worse = ratio > 1 + tolerance if worse_if_more else ratio < 1 / (1 + tolerance)
    return Change(what, figure, before, now, ratio, tolerance, worse, certain)


def _apart(one: Interval, other: Interval) -> bool:
    """Return True if two intervals are known and do not overlap."""
    if one[0] is None or one[1] is None or other[0] is None or other[1] is None:
        return False
    return one[0] > other[1] or other[0] > one[1]
