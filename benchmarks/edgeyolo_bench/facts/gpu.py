"""Facts of GPUs: clocks, power and temperature.

They are read as their tools tell them (nvidia-smi; tegrastats and nvpmodel on a Jetson).
"""

from __future__ import annotations

import re

from edgeyolo_bench.facts.machine import Machine, to_number
from edgeyolo_bench.values.device import GpuFacts

_FIELDS = (
    "name", "driver_version", "memory.total", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw", "power.limit",
    "temperature.gpu", "utilization.gpu", "pstate", "clocks_throttle_reasons.active",
)  # fmt: skip
_REASONS = {
    0x4: "power cap", 0x8: "hardware slowdown", 0x20: "thermal limit", 0x40: "hardware thermal limit",
    0x80: "power brake", 0x2: "application clocks",
}  # fmt: skip


def read_gpus(machine: Machine) -> tuple[GpuFacts, ...]:
    """Every GPU that its tool tells of; nothing where there is none."""
    found = _jetson(machine) or _nvidia(machine)  # a Jetson's nvidia-smi knows next to nothing of it
    return (*found, *_intel(machine))


def power_mode(machine: Machine) -> str:
    """A Jetson's power mode in nvpmodel's words, with what jetson_clocks has fixed.

    "" elsewhere.
    """
    told = machine.run(["nvpmodel", "-q"]) or ""
    match = re.search(r"NV Power Mode:\s*(.+)", told)
    if not match:
        return ""
    clocks = re.search(r"GPU MinFreq=(\d+) MaxFreq=(\d+)", machine.run(["jetson_clocks", "--show"]) or "")
    fixed = ", clocks fixed" if clocks and clocks[1] == clocks[2] else ", clocks free" if clocks else ""
    return match[1].strip() + fixed


def _nvidia(machine: Machine) -> tuple[GpuFacts, ...]:
    for fields in (_FIELDS, _FIELDS[:-1]):  # the last one has been renamed, and is not everywhere
        query = f"--query-gpu={','.join(fields)}"
        told = machine.run(["nvidia-smi", query, "--format=csv,noheader,nounits"])
        if told:
            lines = [line for line in told.splitlines() if line.count(",") == len(fields) - 1]
            return tuple(_nvidia_row(dict(zip(fields, _cells(line), strict=True))) for line in lines)
    return ()


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split(",")]


def _nvidia_row(cells: dict[str, str]) -> GpuFacts:
    def number(name: str) -> float | None:
        return to_number(cells[name])

    memory = number("memory.total")
    told = cells.get("clocks_throttle_reasons.active", "")
    bits = int(told, 16) if told.startswith("0x") else 0
    return GpuFacts(
        name=cells["name"],
        driver=cells["driver_version"],
        memory=int(memory * 2**20) if memory else None,
        clock=number("clocks.sm"),
        clock_max=number("clocks.max.sm"),
        memory_clock=number("clocks.mem"),
        power=number("power.draw"),
        power_limit=number("power.limit"),
        power_mode=cells["pstate"],
        temperature=number("temperature.gpu"),
        utilization=share / 100 if (share := number("utilization.gpu")) is not None else None,
        throttling=tuple(words for bit, words in _REASONS.items() if bits & bit),
    )


def _jetson(machine: Machine) -> tuple[GpuFacts, ...]:
    """Facts of a Jetson's GPU from a line of tegrastats.

    The line is `... GR3D_FREQ 12%@[1377] ... GPU@44.5C ... VDD_GPU_SOC 2345mW/2345mW ...`.
    """
    told = machine.run(["tegrastats", "--interval", "200"])
    if not told:
        return ()
    line = told.splitlines()[0]
    busy = re.search(r"GR3D_FREQ (\d+)%(?:@\[?(\d+))?", line)
    heat = re.search(r"\bgpu@([\d.]+)C", line, re.IGNORECASE)
    power = re.search(r"\b(?:VDD_IN|POM_5V_IN) (\d+)", line)
    release = (machine.read("/etc/nv_tegra_release") or "").split(", GCID")[0].lstrip("# ")
    return (
        GpuFacts(
            name="Jetson integrated GPU",
            driver=release,
            clock=float(busy[2]) if busy and busy[2] else None,
            power=float(power[1]) / 1e3 if power else None,
            power_mode=power_mode(machine),
            temperature=float(heat[1]) if heat else None,
            utilization=float(busy[1]) / 100 if busy else None,
        ),
    )


def _intel(machine: Machine) -> tuple[GpuFacts, ...]:
    found = []
    for card in machine.glob("/sys/class/drm/card[0-9]"):
        if machine.read(f"{card}/device/vendor") == "0x8086":
            device = machine.read(f"{card}/device/device") or ""
            found.append(
                GpuFacts(
                    name=f"Intel graphics {device}".strip(),
                    clock=machine.number(f"{card}/gt_act_freq_mhz"),
                    clock_max=machine.number(f"{card}/gt_max_freq_mhz"),
                )
            )
    return tuple(found)
