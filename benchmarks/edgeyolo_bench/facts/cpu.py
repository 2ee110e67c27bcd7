"""Facts of the processor.

They are its model, the cores we may use, and what holds its clock.
"""

from __future__ import annotations

import os
import re

from edgeyolo_bench.facts.machine import Machine, to_number
from edgeyolo_bench.values.device import CpuFacts

# Instruction sets that decide how fast networks run, in the words of /proc/cpuinfo.
FEATURES = (
    "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_tile",
    "amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
_ARM_PARTS = {
    "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78", "0xd42": "Cortex-A78AE", "0xd49": "Neoverse-N2", "0xd4f": "Neoverse-V2",
}  # fmt: skip


def read_cpu(machine: Machine) -> CpuFacts:
    """The processor's facts; what the system does not tell stays None or empty."""
    if machine.system == "Darwin":
        return _read_mac(machine)
    text = machine.read("/proc/cpuinfo") or ""
    values = _first_values(text)
    logical = len(re.findall(r"^processor\s*:", text, re.MULTILINE)) or os.cpu_count() or 1
    flags = set((values.get("flags") or values.get("Features") or "").split())
    clocks = "/sys/devices/system/cpu/cpu0/cpufreq"
    most = machine.number(f"{clocks}/cpuinfo_max_freq")
    return CpuFacts(
        model=_model(values, text) or machine.processor,
        architecture=machine.processor,
        cores=logical,
        available=available_cores(machine, logical),
        physical=_physical(text),
        governor=machine.read(f"{clocks}/scaling_governor") or "",
        mhz_before=clock(machine),
        mhz_max=most / 1e3 if most else None,
        turbo=_turbo(machine),
        features=tuple(name for name in FEATURES if name in flags),
    )


def clock(machine: Machine) -> float | None:
    """The mean clock of the cores now, in MHz."""
    files = machine.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    khz = [value for path in files if (value := machine.number(path))]
    if khz:
        return sum(khz) / len(khz) / 1e3
    told = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", machine.read("/proc/cpuinfo") or "", re.MULTILINE)
    return sum(map(float, told)) / len(told) if told else None


def available_cores(machine: Machine, logical: int) -> float:
    """Cores this process may use.

    Its affinity, or the share that its container is given if that is less.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    limits = [float(min(allowed, logical))]
    quota, _, period = (machine.read("/sys/fs/cgroup/cpu.max") or "").partition(" ")
    pairs = [(to_number(quota), to_number(period))]
    old = "/sys/fs/cgroup/cpu/cpu.cfs"
    pairs.append((machine.number(f"{old}_quota_us"), machine.number(f"{old}_period_us")))
    limits += [share / whole for share, whole in pairs if share and whole and share > 0]
    return min(limits)


def _first_values(text: str) -> dict[str, str]:
    """Field -> value of /proc/cpuinfo, the first processor's where they repeat."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            values.setdefault(name.strip(), value.strip())
    return values


def _model(values: dict[str, str], text: str) -> str:
    if name := values.get("model name") or values.get("Processor"):
        return name
    parts = re.findall(r"^CPU part\s*:\s*(\S+)", text, re.MULTILINE)
    counts = {part: parts.count(part) for part in dict.fromkeys(parts)}
    named = [f"{count} x {_ARM_PARTS.get(part, f'ARM part {part}')}" for part, count in counts.items()]
    return " + ".join(named) or values.get("Hardware", "")


def _physical(text: str) -> int | None:
    """Cores that are not another one's hyper-thread."""
    pairs = re.findall(r"^physical id\s*:\s*(\d+)$.*?^core id\s*:\s*(\d+)$", text, re.MULTILINE | re.DOTALL)
    return len(set(pairs)) or None


def _turbo(machine: Machine) -> bool | None:
    if (off := machine.number("/sys/devices/system/cpu/intel_pstate/no_turbo")) is not None:
        return not off
    boost = machine.number("/sys/devices/system/cpu/cpufreq/boost")
    return None if boost is None else bool(boost)


def _read_mac(machine: Machine) -> CpuFacts:
    def tell(name: str) -> str:
        return (machine.run(["sysctl", "-n", name]) or "").strip()

    logical = int(to_number(tell("hw.logicalcpu")) or os.cpu_count() or 1)
    physical = to_number(tell("hw.physicalcpu"))
    most = to_number(tell("hw.cpufrequency_max"))
    return CpuFacts(
        model=tell("machdep.cpu.brand_string") or machine.processor,
        architecture=machine.processor,
        cores=logical,
        available=float(logical),
        physical=int(physical) if physical else None,
        mhz_max=most / 1e6 if most else None,
    )
