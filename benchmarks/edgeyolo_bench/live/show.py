"""A LiveReport as tables, files and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeyolo.cli.console import note, print_json, print_table
from edgeyolo.support.files import atomic_file, require_writable
from edgeyolo_bench.live.live_options import Live
from edgeyolo_bench.live.report import LiveReport, LoadFacts, StreamFacts
from edgeyolo_bench.live.run import measure_live
from edgeyolo_bench.measure.jobs import Wanted
from edgeyolo_bench.render.display import listening
from edgeyolo_bench.render.markdown import table_lines
from edgeyolo_bench.render.table import NOT_REPORTABLE, digits
from edgeyolo_bench.values.measurement import Quantile, Rate

STREAM_COLUMNS = ("model", "target", "frames/s", "latency p50 ms", "p90 ms", "p99 ms", "taken", "dropped")
LOAD_COLUMNS = ("server", "load", "answers/s", "p50 ms", "p90 ms", "p99 ms", "statuses", "wrong")
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def measure_and_show(
    live: Live, wanted: Wanted, places: Sequence[Path], *, seconds: float, device: str, output: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Measure a stream or a server for so many seconds and deliver what was found."""
    if output is not None:
        require_writable(output)
    with listening() as listener:
        report = measure_live(live, wanted, places, listener, seconds=seconds, device=device)
    deliver_live(report, output, as_json=as_json)


def deliver_live(report: LiveReport, output: Path | None, *, as_json: bool) -> None:
    """Print the report, and write report.json and report.md where a folder is given."""
    if output is not None:
        write_live(report, output)
    if as_json:
        print_json(report.to_json())
        return
    for heads, rows in tables(report):
        print_table(heads, rows)
    for line in notes(report):
        note(line)


def write_live(report: LiveReport, folder: Path) -> None:
    """Write report.json and report.md."""
    lines = [f"# {report.device.name}", ""]
    for heads, rows in tables(report):
        lines += [*table_lines(heads, rows), ""]
    lines += [f"- {line}" for line in notes(report)]
    text = json.dumps(report.to_json(), indent=1, ensure_ascii=False)
    for name, content in (("report.json", text), ("report.md", "\n".join(lines))):
        with atomic_file(folder / name) as draft:
            draft.write_text(content + "\n", encoding="utf-8")


def tables(report: LiveReport) -> Iterator[Table]:
    """Heads and rows of streams and of loads, where there are any."""
    if report.streams:
        yield STREAM_COLUMNS, [_stream(item) for item in report.streams]
    if report.loads:
        yield LOAD_COLUMNS, [_load(item) for item in report.loads]


def notes(report: LiveReport) -> Iterator[str]:
    """Notes to be read beside the tables."""
    for item in report.streams:
        if item.pace is not None:
            yield (
                f"{item.model} {item.target}: {item.frames} frames as fast as they go, then {item.source} at its own "
                f"{item.pace:.3g} frames a second, the freshest taken"
            )
    cpu = report.device.cpu
    yield f"{report.device.name}: {cpu.model}, {cpu.available:g} of {cpu.cores} cores"
    if report.loads:
        yield "the client's machine is this one; a server on it shares its cores"
    for text in (*report.device.interference.busy, *report.device.throttling):
        if report.streams or "other processes" not in text:
            yield f"note: {text}"


def _stream(item: StreamFacts) -> tuple[str, ...]:
    dropped = ", ".join(f"{count} {cause}" for cause, count in sorted(item.dropped.items()) if count) or "0"
    taken = f"{item.delivered} of {item.captured}"
    return (item.model, item.target, _rate(item.rate), *_quantiles(item.latency), taken, dropped)


def _load(item: LoadFacts) -> tuple[str, ...]:
    load = f"{item.offered:g} a second" if item.offered is not None else f"{item.connections} connections"
    statuses = ", ".join(
        f"{count} x {'no answer' if status == '0' else status}" for status, count in item.statuses.items()
    )
    return (item.server, load, _rate(item.rate), *_quantiles(item.latency), statuses, f"{item.wrong}")


def _rate(found: Rate | None) -> str:
    if found is None:
        return "-"
    if found.low is None or found.high is None:
        return NOT_REPORTABLE
    return f"{digits(found.value)} ({digits(found.low)} to {digits(found.high)})"


def _quantiles(found: Sequence[Quantile]) -> tuple[str, ...]:
    texts = [digits(item.value) if item.reportable else NOT_REPORTABLE for item in found]
    return tuple(texts or ["-"] * 3)
