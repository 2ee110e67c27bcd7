"""The best AP within a latency, of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeyolo_bench.values.choice import Choice
from edgeyolo_bench.values.measurement import Measurement
from edgeyolo_bench.values.report import Report


def with_choice(report: Report, limit_ms: float) -> Report:
    """The report with a Choice for each of its devices."""
    of_device = {
        device.name: [item for item in report.measurements if item.device == device.name]
        for device in report.devices
    }
    return replace(
        report,
        choices=tuple(choose_within(name, items, limit_ms) for name, items in of_device.items() if items),
    )


def choose_within(device: str, measurements: Sequence[Measurement], limit_ms: float) -> Choice:
    """The measurement of the best AP within `limit_ms` for certain.

    The latency is the scenario's percentile, certain where the upper end of its interval is within the limit. Of equal
    AP the quicker is taken.
    """
    judged = [item for item in measurements if _quotable(item)]
    within = sorted((item for item in judged if _high(item) <= limit_ms), key=_rank, reverse=True)
    outside = sorted((item for item in judged if _high(item) > limit_ms), key=_rank, reverse=True)
    choice = Choice(
        device,
        limit_ms,
        next((item.latency.name for item in measurements if item.latency), ""),
        unsure=tuple(item.label for item in outside if _value(item) <= limit_ms),
        unjudged=tuple(item.label for item in measurements if not _quotable(item)),
    )
    if within:
        best = within[0]
        choice = replace(
            choice, best=best.label, latency_ms=_value(best), high_ms=_high(best), spare_ms=limit_ms - _high(best),
            ap=_ap(best),
        )  # fmt: skip
    if len(within) > 1:
        choice = replace(choice, second=within[1].label, ahead=100 * (_ap(within[0]) - _ap(within[1])))
    if outside and (not within or _ap(outside[0]) > _ap(within[0])):
        best_of_all = outside[0]
        missed = 100 * (_ap(best_of_all) - _ap(within[0])) if within else None
        choice = replace(
            choice, beyond=best_of_all.label, missed=missed, over_ms=_high(best_of_all) - limit_ms
        )
    return choice


def _quotable(item: Measurement) -> bool:
    known = item.accuracy is not None and item.accuracy.ap is not None
    latency = item.latency
    return known and item.reportable and latency is not None and latency.high is not None


def _ap(item: Measurement) -> float:
    assert item.accuracy is not None and item.accuracy.ap is not None
    return item.accuracy.ap


def _value(item: Measurement) -> float:
    assert item.latency is not None
    return item.latency.value


def _high(item: Measurement) -> float:
    assert item.latency is not None and item.latency.high is not None
    return item.latency.high


def _rank(item: Measurement) -> tuple[float, float]:
    return _ap(item), -_high(item)
