"""Load of the machine while it is measured.

It comes from readings of the kernel's counters, and what lies between two.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from edgeyolo_bench.facts.machine import Machine, to_number
from edgeyolo_bench.values.device import Interference

# Above these a run is called disturbed. A quiet desktop stays far below them.
MOST_OTHERS = 0.05  # share of all cores
MOST_STEAL = 0.01
MOST_PREEMPTIONS = 50.0  # a second and core


@dataclass(frozen=True)
class Reading:
    """Counters at one moment; None where the system does not have them.

    Times in seconds, `busy`, `steal` and `total` summed over all cores; `own` is the processor time of this
    process and of what it has started.
    """

    moment: float
    own: float
    busy: float | None = None
    steal: float | None = None
    total: float | None = None
    preemptions: int | None = None
    throttled: int | None = None


@dataclass(frozen=True)
class Spent:
    """Load between two readings, or in several such stretches together."""

    seconds: float = 0.0
    own: float = 0.0
    busy: float | None = None
    steal: float | None = None
    total: float | None = None
    preemptions: int | None = None
    throttled: int | None = None

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.seconds + other.seconds,
            self.own + other.own,
            _sum(self.busy, other.busy),
            _sum(self.steal, other.steal),
            _sum(self.total, other.total),
            _count(_sum(self.preemptions, other.preemptions)),
            _count(_sum(self.throttled, other.throttled)),
        )


def read_counters(machine: Machine) -> Reading:
    """The counters now."""
    spent = os.times()
    own = spent.user + spent.system + spent.children_user + spent.children_system
    cells = [
        to_number(cell) or 0.0 for cell in (machine.read("/proc/stat") or "").split("\n")[0].split()[1:9]
    ]
    tick = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
    known = len(cells) == 8
    return Reading(
        moment=time.perf_counter(),
        own=own + _descendants(machine, os.getpid()) / tick,
        busy=(sum(cells) - cells[3] - cells[4] - cells[7]) / tick if known else None,
        steal=cells[7] / tick if known else None,
        total=sum(cells) / tick if known else None,
        preemptions=_preemptions(),
        throttled=_throttled(machine),
    )


def _descendants(machine: Machine, process: int) -> float:
    """Ticks spent by the living processes below one.

    Some runtimes work in a process of their own.
    """
    ticks = 0.0
    for task in machine.glob(f"/proc/{process}/task/[0-9]*"):
        for child in (machine.read(f"{task}/children") or "").split():
            # The name, in parentheses, may hold anything; after it utime and stime are the 12th and 13th.
            cells = (machine.read(f"/proc/{child}/stat") or "").rpartition(")")[2].split()
            ticks += sum(to_number(cell) or 0.0 for cell in cells[11:15])
            ticks += _descendants(machine, int(child))
    return ticks


def between(first: Reading, second: Reading) -> Spent:
    """Load from one reading to a later one."""
    return Spent(
        second.moment - first.moment,
        second.own - first.own,
        _difference(first.busy, second.busy),
        _difference(first.steal, second.steal),
        _difference(first.total, second.total),
        _count(_difference(first.preemptions, second.preemptions)),
        _count(_difference(first.throttled, second.throttled)),
    )


def load_average(machine: Machine) -> float | None:
    """Processes that ran or wanted to run, averaged over the last minute."""
    if told := machine.read("/proc/loadavg"):
        return to_number(told.split()[0])
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none
        return None


def judge(spent: Spent, load: float | None, cores: float) -> Interference:
    """Judge in words if a run was disturbed.

    `cores` are those the process may use.
    """
    others = steal = preemptions = None
    busy = []
    if spent.total and spent.busy is not None and spent.steal is not None:
        others = max(spent.busy - spent.own, 0.0) / spent.total
        steal = max(spent.steal, 0.0) / spent.total
        if others > MOST_OTHERS:
            busy.append(f"other processes took {others:.0%} of the processor during the run")
        if steal > MOST_STEAL:
            busy.append(f"the hypervisor took {steal:.1%} of the processor during the run")
    if spent.preemptions is not None and spent.seconds > 0:
        preemptions = spent.preemptions / spent.seconds
        if preemptions > MOST_PREEMPTIONS * cores:
            busy.append(f"the kernel took the core away {preemptions:.0f} times a second")
    if spent.throttled:
        busy.append(f"the container's processor quota stopped the run {spent.throttled} times")
    if load is not None and load > cores:
        busy.append(f"load average {load:.1f} before the run, on {cores:g} cores")
    return Interference(load, others, steal, preemptions, spent.throttled, tuple(busy))


def _preemptions() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _throttled(machine: Machine) -> int | None:
    for path in ("/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu/cpu.stat"):
        for line in (machine.read(path) or "").splitlines():
            name, _, value = line.partition(" ")
            if name == "nr_throttled":
                return int(value)
    return None


def _sum(one: float | None, other: float | None) -> float | None:
    """The sum, or the one that is known."""
    return (one or 0) + (other or 0) if one is not None or other is not None else None


def _difference(one: float | None, other: float | None) -> float | None:
    return other - one if one is not None and other is not None else None


def _count(value: float | None) -> int | None:
    return None if value is None else int(value)
