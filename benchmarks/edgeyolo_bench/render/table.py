"""The report as a table on the console, and the lines below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeyolo_bench.values.device import DeviceFacts
from edgeyolo_bench.values.measurement import Change, Comparison, Measurement, Quantile
from edgeyolo_bench.values.report import Report

NOT_REPORTABLE = "not reportable"
_NAMES = ("device", "model", "target")
_GAP = 3  # between two columns
_SPLIT = ("decode", "preprocess", "inference", "postprocess")


def columns(report: Report) -> tuple[str, ...]:
    """The heads of the table; the scenario's percentile names its column."""
    names = dict.fromkeys(item.latency.name for item in report.measurements if item.latency)
    percentile = "/".join(name for name in names if name != "p50")
    device = ("device",) if len(report.devices) > 1 else ()
    accuracy = ("AP",) if any(item.accuracy for item in report.measurements) else ()
    tail = (f"{percentile} ms",) if percentile else ()
    return (
        *device, "model", "target", "input", "MB", "params", "GFLOPs", "p50 ms", *tail,
        "decode + pre + net + post", "images/s", *accuracy,
    )  # fmt: skip


def rows(report: Report) -> list[tuple[str, ...]]:
    """A row for each measurement; what may not be quoted is not printed."""
    heads = columns(report)
    return [tuple(_cells(item)[head] for head in _keys(heads)) for item in report.measurements]


Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def tables(report: Report, width: int | None) -> list[Table]:
    """Heads and rows for a terminal of `width` characters, None for any width.

    All in one table where it fits, else what the artifacts are in one and what they take in another.
    """
    heads, lines = columns(report), rows(report)
    longest = [max(map(len, cells)) for cells in zip(heads, *lines, strict=True)]
    if width is None or sum(longest) + _GAP * len(heads) <= width:
        return [(heads, lines)]
    latencies = heads.index("p50 ms")
    named = [
        index
        for index, head in enumerate(heads)
        if head in _NAMES and len({line[index] for line in lines}) > 1
    ]
    named = named or [heads.index("target")]
    last = range(latencies, len(heads))
    accuracy = [index for index in last if heads[index] == "AP"]
    parts = ([*range(latencies), *accuracy], [*named, *(index for index in last if index not in accuracy)])
    return [
        (tuple(heads[i] for i in part), [tuple(line[i] for i in part) for line in lines]) for part in parts
    ]


def _keys(heads: tuple[str, ...]) -> list[str]:
    return ["tail" if head.startswith("p") and head not in ("p50 ms", "params") else head for head in heads]


def _cells(item: Measurement) -> dict[str, str]:
    artifact, whole = item.artifact, item.stage(item.scenario.judged)
    height, width = artifact.size
    median = whole.quantile(0.5) if whole else None
    accuracy = item.accuracy.ap if item.accuracy else None
    batch = f" x {item.scenario.query_images}" if item.scenario.query_images > 1 else ""
    return {
        "device": item.device,
        "model": artifact.name,
        "target": artifact.target,
        "input": (f"{height}" if height == width else f"{height}x{width}") + batch,
        "MB": f"{artifact.bytes / 1e6:.1f}",
        "params": f"{artifact.parameters / 1e6:.2f} M" if artifact.parameters else "-",
        "GFLOPs": f"{artifact.gflops:.1f}" if artifact.gflops else "-",
        "p50 ms": _latency(median, True),
        "tail": _latency(item.latency, item.reportable),
        "decode + pre + net + post": _split(item),
        "images/s": _rate(item),
        "AP": f"{accuracy:.4f}" if accuracy is not None else "-",
    }


def _latency(found: Quantile | None, reportable: bool) -> str:
    if found is None:
        return "-"
    if not reportable or not found.reportable or found.low is None or found.high is None:
        return NOT_REPORTABLE
    return f"{digits(found.value)} ({digits(found.low)} to {digits(found.high)})"


def _split(item: Measurement) -> str:
    stages = [item.stage(name) for name in _SPLIT]
    if not all(stage is None or stage.quantile(0.5).reportable for stage in stages):
        return NOT_REPORTABLE
    return " + ".join(digits(stage.median) if stage else "-" for stage in stages)


def _rate(item: Measurement) -> str:
    found = item.throughput
    if not item.reportable or found.low is None or found.high is None:
        return NOT_REPORTABLE
    return f"{digits(found.value)} ({digits(found.low)} to {digits(found.high)})"


def digits(value: float) -> str:
    """Three significant digits, and all of those before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def notes(report: Report) -> Iterator[str]:
    """Notes to be read beside the table."""
    for item in report.measurements:
        for reason in item.reasons:
            yield f"{item.label}: not reportable: {reason}"
    yield from filter(None, map(stopped, report.measurements))
    yield from warned(report.measurements, but=report.warnings)
    for choice in report.choices:
        for label in choice.unsure:
            yield f"{label}: within {choice.limit_ms:g} ms, but the end of its interval is not"
        for label in choice.unjudged:
            yield f"{label}: not judged by --max-latency, its latency or its AP may not be quoted"
    for comparison in report.comparisons:
        yield compared(comparison)
    for change in report.changes:
        yield changed(change)
    for failure in report.failures:
        yield f"{failure.what}: {failure.message}" + (f" ({failure.hint})" if failure.hint else "")
    for device in report.devices:
        yield _device(device)
    if report.measurements:
        yield _protocol(report)
    for warning in report.warnings:
        yield f"note: {warning}"
    if report.interrupted:
        yield "interrupted: these are the figures of what was completed"


def stopped(item: Measurement) -> str:
    """MLPerf's estimate in words, "" where the scenario has none."""
    found = item.early_stopping
    if found is None:
        return ""
    name = f"p{100 * found.percentile:g}"
    if found.value is None:
        return (
            f"{item.label}: {found.queries} queries, MLPerf's early stopping takes {found.needed} for {name}"
        )
    return (
        f"{item.label}: {name} {digits(found.value)} ms by MLPerf's early stopping ({found.queries} queries, "
        f"{found.discarded} discarded, {found.confidence:.0%} confidence)"
    )


def warned(measurements: Sequence[Measurement], but: Sequence[str] = ()) -> Iterator[str]:
    """Their warnings, each once with all that it is for; without those of `but`."""
    labels: dict[str, list[str]] = {}
    for item in measurements:
        for text in item.warnings:
            labels.setdefault(text, []).append(item.label)
    for text, of in labels.items():
        if text not in but:
            every = len(of) == len(measurements) > 1
            yield f"{f'all {len(of)}' if every else ', '.join(of)}: {text}"


def compared(item: Comparison) -> str:
    """One comparison in words."""
    interval = (
        f" ({item.low:.3f} to {item.high:.3f})" if item.low is not None and item.high is not None else ""
    )
    sure = item.low is not None and item.high is not None and not item.low <= 1 <= item.high
    if not sure:
        verdict = "no difference is certain"
    else:
        verdict = f"{abs(1 - item.ratio):.1%} {'less' if item.ratio < 1 else 'more'} time"
    return f"{item.second} / {item.first}, {item.stage}: {item.ratio:.3f}{interval}, {item.pairs} pairs: {verdict}"


def changed(item: Change) -> str:
    """One change against the baseline in words."""
    verdict = "REGRESSION" if item.worse else "within tolerance"
    sure = "" if item.certain or not item.worse else ", though the intervals overlap"
    return (
        f"{item.what} {item.figure}: {digits(item.before)} -> {digits(item.now)} (x {item.ratio:.3f}), "
        f"{item.tolerance:.0%} allowed: {verdict}{sure}"
    )


def _device(device: DeviceFacts) -> str:
    """One device in one line; clocks and heat where they are known."""
    cpu = device.cpu
    parts = [f"{cpu.model}, {cpu.available:g} of {cpu.cores} cores"]
    clocks = [f"{value:.0f}" for value in (cpu.mhz_before, cpu.mhz_after) if value]
    parts += [f"{' to '.join(dict.fromkeys(clocks))} MHz"] if clocks else []
    parts += [" ".join(cpu.features)] if cpu.features else []
    parts += [f"governor {cpu.governor}"] if cpu.governor else []
    hottest = max(device.temperatures_after.values(), default=None)
    parts += [f"{hottest:.0f} C"] if hottest is not None else []
    parts += [gpu.name for gpu in device.gpus] + [item.name for item in device.accelerators]
    parts += [device.power_mode] if device.power_mode else []
    return f"{device.name}: {', '.join(parts)}"


def _protocol(report: Report) -> str:
    """Protocol of a measurement in one line."""
    item = report.measurements[0]
    scenario, images = item.scenario, item.images
    stage = item.stage(scenario.judged)
    worst = max(each.overhead.share for each in report.measurements)
    queries = min(each.stages[0].count for each in report.measurements)
    confidence = f"{stage.quantiles[0].confidence:.0%}" if stage else "95%"
    return (
        f"{scenario.name}, {scenario.judged}: at least {queries} queries of {scenario.query_images} image(s), "
        f"{scenario.min_duration:g} s; {images.count} images ({images.source}); intervals {confidence}; "
        f"the harness costs at most {100 * worst:.2g} % of a query"
    )
