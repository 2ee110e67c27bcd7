"""The result of a report in a sentence, and all of its figures as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from edgeyolo.support.printable import printable_line
from edgeyolo_bench.render.table import digits
from edgeyolo_bench.values.choice import Choice
from edgeyolo_bench.values.measurement import Measurement
from edgeyolo_bench.values.report import Report

COLUMNS = (
    "device", "model", "target", "height", "width", "scenario", "images_a_query", "bytes", "parameters", "gflops",
    "p50_ms", "p50_low", "p50_high", "p90_ms", "p99_ms", "images_per_s", "AP", "AP50", "AP_data", "reportable",
    "reasons",
)  # fmt: skip


def headline(report: Report) -> str:
    """The result of a report: what is fastest, how fast, and what finds most."""
    fit = [item for item in report.measurements if item.reportable and item.throughput.value]
    if not fit:
        reasons = [reason for item in report.measurements for reason in item.reasons]
        failures = [f"{failure.what}: {failure.message}" for failure in report.failures]
        why = "; ".join(dict.fromkeys([*reasons, *failures])) or "nothing was measured"
        return " ".join([f"There is no figure that may be quoted: {why}.", *map(chosen, report.choices)])
    fastest = max(fit, key=lambda item: item.throughput.value)
    several = len(report.measurements) > 1
    sentences = [
        f"{f'Of {len(report.measurements)} measurements ' if several else ''}{fastest.label} "
        f"{'is the fastest: it ' if several else ''}{_speed(fastest)} on {fastest.device}."
    ]
    judged = [item for item in report.measurements if item.accuracy and item.accuracy.ap is not None]
    if judged:
        best = max(judged, key=lambda item: (item.accuracy and item.accuracy.ap) or 0.0)
        assert best.accuracy is not None and best.accuracy.ap is not None
        who = f"{best.label} finds most" if several else "It finds"
        sentences.append(
            f"{who}: AP {best.accuracy.ap:.1%} on {best.accuracy.data} ({best.accuracy.images} images)."
        )
    return " ".join([*sentences, *map(chosen, report.choices)])


def chosen(choice: Choice) -> str:
    """A choice in words, with its margins and what a wider limit would give."""
    limit = f"{digits(choice.limit_ms)} ms ({choice.figure})"
    if choice.ap is None or choice.high_ms is None or choice.spare_ms is None:
        text = f"Nothing measured on {choice.device} is within {limit} for certain"
        over = f": {choice.beyond}, the best, is {digits(choice.over_ms)} ms above" if choice.over_ms else ""
        return f"{text}{over}."
    text = (
        f"Within {limit} on {choice.device} {choice.best} is the best: AP {choice.ap:.1%}, at most "
        f"{digits(choice.high_ms)} ms, {digits(choice.spare_ms)} ms to spare"
    )
    if choice.ahead is not None:
        text += f", {choice.ahead:.1f} points before {choice.second}"
    if choice.missed is not None and choice.over_ms is not None:
        text += (
            f"; {choice.beyond} has {choice.missed:.1f} points more and is {digits(choice.over_ms)} ms above"
        )
    return f"{text}."


def _speed(item: Measurement) -> str:
    stage = item.stage(item.scenario.judged)
    rate = f"{digits(item.throughput.value)} images a second"
    if stage is None:
        return f"takes {rate}"
    query = "an image" if item.scenario.query_images == 1 else f"for {item.scenario.query_images} images"
    return f"takes {digits(stage.median)} ms {query} ({stage.name}, median), {rate},"


def to_csv(report: Report) -> str:
    """A line for each measurement, its figures as they were measured."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([list(_cells(item)) for item in report.measurements])
    return text.getvalue()


def _cells(item: Measurement) -> Iterator[object]:
    facts, stage, accuracy = item.artifact, item.stage(item.scenario.judged), item.accuracy
    middle = stage.quantile(0.5) if stage else None
    yield from (_text(item.device), _text(facts.name), facts.target, *facts.size, item.scenario.name)
    yield from (item.scenario.query_images, facts.bytes, facts.parameters, facts.gflops)
    yield from (middle.value, middle.low, middle.high) if middle else (None, None, None)
    yield from (stage.quantile(q).value if stage else None for q in (0.9, 0.99))
    yield item.throughput.value
    yield from (accuracy.ap, accuracy.ap50, _text(accuracy.data)) if accuracy else (None, None, "")
    yield from (item.reportable, _text("; ".join(item.reasons)))


def _text(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    shown = printable_line(text)
    return f"'{shown}" if shown[:1] in "=+-@" and shown else shown
