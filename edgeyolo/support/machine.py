"""Facts of this machine: processor and cores."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor_name() -> str:
    """The processor's own name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int | None:
    """The logical processors that this process may use, where the system tells it.

    Else all of them.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


INTEGERS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})
"""Instructions that add products of 8-bit integers, in the words of /proc/cpuinfo."""


def integer_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str] | None:
    """Instructions for integers of this processor.

    They are of `INTEGERS`; None where the system does not tell.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    flags = [line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))]
    return INTEGERS & set(flags[0]) if flags else None
