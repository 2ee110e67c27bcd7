"""The words of the page.

Warnings, what is known of the machine, how it was measured, and the layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from edgeyolo.support.svg import tag
from edgeyolo_bench.limits.roofline import Limits, Placement, bugs
from edgeyolo_bench.render.page.tables import sortable
from edgeyolo_bench.render.result_table import Cell, Table, number
from edgeyolo_bench.render.table import warned
from edgeyolo_bench.values.device import DeviceFacts
from edgeyolo_bench.values.report import Report

SHOWN = 5  # warnings that stand open: a wall of them hides the figures


def warnings(report: Report) -> str:
    """Warnings to read before any figure; "" if there are none."""
    said = [("bug", text) for text in bugs(report.limits)]
    said += [
        ("warn", f"{device.name}: {text}") for device in report.devices for text in device.interference.busy
    ]
    said += [
        ("warn", f"{device.name} slowed down: {text}")
        for device in report.devices
        for text in device.throttling
    ]
    of_machines = {
        text for device in report.devices for text in (*device.interference.busy, *device.throttling)
    }
    said += [("warn", text) for text in report.warnings if text not in of_machines | set(bugs(report.limits))]
    said += [("warn", text) for text in warned(report.measurements)]
    said += [
        ("warn", f"{item.label}, {item.scenario.name}, may not be quoted: {'; '.join(item.reasons)}")
        for item in report.measurements if not item.reportable
    ]  # fmt: skip
    said += [("warn", f"{item.what}: {item.message}") for item in report.failures]
    if report.interrupted:
        said.append(("warn", "Interrupted: only what was completed is here."))
    rows = [tag("li", escape(text), class_=kind) for kind, text in dict.fromkeys(said)]
    shown = "".join(rows[:SHOWN])
    if more := rows[SHOWN:]:
        said_too = tag("ul", "".join(more), class_="warnings")
        shown += tag("li", tag("details", tag("summary", f"and {len(more)} more") + said_too), class_="warn")
    return tag("ul", shown, class_="warnings", role="alert") if rows else ""


def device_facts(report: Report) -> str:
    """Everything known of every device."""
    return "".join(tag("h3", escape(device.name)) + _definitions(_facts(device)) for device in report.devices)


def _definitions(pairs: Iterator[tuple[str, str]]) -> str:
    rows = "".join(
        tag("div", tag("dt", escape(name)) + tag("dd", escape(value))) for name, value in pairs if value
    )
    return tag("dl", rows)


def _facts(device: DeviceFacts) -> Iterator[tuple[str, str]]:
    cpu = device.cpu
    physical = f"{cpu.physical} physical, " if cpu.physical else ""
    yield "processor", f"{cpu.model} ({cpu.architecture})"
    yield "cores", f"{physical}{cpu.cores} logical, {cpu.available:g} for this process"
    yield "clock", _before_after(cpu.mhz_before, cpu.mhz_after, "MHz")
    yield "governor", cpu.governor
    yield "turbo", "" if cpu.turbo is None else "on" if cpu.turbo else "off"
    yield "instructions", ", ".join(cpu.features)
    yield "memory", _gigabytes(device.memory)
    yield "free when it began", _gigabytes(device.memory_available)
    yield "board", device.board
    yield "power mode", device.power_mode
    yield "container", device.container
    yield "system", device.system
    yield "Python", device.python
    for gpu in device.gpus:
        clock = f", {gpu.clock:g} of {gpu.clock_max:g} MHz" if gpu.clock and gpu.clock_max else ""
        yield "GPU", f"{gpu.name}, driver {gpu.driver or 'unknown'}{clock} {gpu.power_mode}".strip()
        yield "GPU throttling", ", ".join(gpu.throttling)
    for item in device.accelerators:
        yield item.kind, f"{item.name} {item.where}".strip()
    for sensor, before in device.temperatures_before.items():
        after = device.temperatures_after.get(sensor)
        yield f"temperature {sensor}", _before_after(before, after, "°C")
    yield "runtimes", ", ".join(f"{name} {version}" for name, version in device.runtimes.items())
    yield "packages", ", ".join(f"{name} {version}" for name, version in device.packages.items())
    load = device.interference
    yield "load before", "" if load.load is None else f"{load.load:.2f}"
    yield "other processes", "" if load.others is None else f"{load.others:.1%} of the cores"
    yield "taken by the hypervisor", "" if load.steal is None else f"{load.steal:.1%}"


def _before_after(before: float | None, after: float | None, unit: str) -> str:
    if before is None:
        return ""
    return f"{before:.0f} {unit}" + (f" before, {after:.0f} {unit} after" if after is not None else "")


def _gigabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 2**30:.1f} GiB"


def how_measured(report: Report) -> str:
    """Scenario, images, steadiness and overhead of every measurement."""
    columns = ("measurement", "scenario", "queries", "seconds", "discarded", "drift", "harness", "threads", "images",
               "artifact")  # fmt: skip
    rows = tuple(
        (
            Cell(item.label, item.label.lower()), Cell(item.scenario.name, item.scenario.name),
            number(max((stage.count for stage in item.stages), default=None), 0), number(item.duration, 1),
            number(item.steady.discarded, 0), number(item.steady.drift, 1, "%", 100),
            number(item.overhead.share, 2, "%", 100),
            Cell("default", 0) if item.threads is None else number(item.threads, 0),
            Cell(f"{item.images.count} {item.images.source}", item.images.source, item.images.sha256),
            Cell(item.artifact.sha256[:12], item.artifact.sha256, item.artifact.sha256),
        )
        for item in report.measurements
    )  # fmt: skip
    notes = (
        "Queries before the latency had settled are discarded; after that none is. harness: what measuring adds to the "
        "median query. A run ends when its scenario's least time and least number of queries are both reached.",
    )
    return sortable(Table(columns, rows, notes), "how")


def layer_tables(limits: Limits, name: str) -> str:
    """Operations and bytes of every layer, folded away."""
    tables = "".join(
        tag("details", tag("summary", escape(f"Layers of {item.label}")) + sortable(_layers(item), f"{name}-{n}"))
        for n, item in enumerate(limits.placements) if item.layers
    )  # fmt: skip
    return tag("details", tag("summary", "Operations and bytes of every layer") + tables) if tables else ""


def _layers(item: Placement) -> Table:
    rows = tuple(
        (
            Cell(layer.name, n), number(layer.gflops, 3), number(layer.bytes / 1e6, 2, " MB"),
            number(1e9 * layer.gflops / layer.bytes, 1), number(layer.limit_ms, 3, " ms"),
            Cell(layer.bound, layer.bound),
        )
        for n, layer in enumerate(item.layers)
    )  # fmt: skip
    return Table(("layer", "GFLOPs", "bytes", "operations/byte", "limit", "bound by"), rows)
