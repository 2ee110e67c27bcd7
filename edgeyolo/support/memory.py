"""Memory of this machine and of this process.

It counts what a container's limit leaves, and the most that a piece of work has in use, and hands back what is free.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that processes may still take; None where the system does not tell.

    The least of what the kernel has to give and of what the limits of the process's control groups (versions 1 and
    2, and those above them) leave. File pages that a group can drop at once do not count as used.

    `root` stands in for the root of the file system.
    """
    found = [value for value in (_kernel_available(root), *_group_headrooms(root)) if value is not None]
    return min(found, default=None)


def _kernel_available(root: Path) -> int | None:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _group_headrooms(root: Path) -> Iterator[int | None]:
    """Bytes that each control group of this process leaves below its limit."""
    for line in _lines(root / "proc/self/cgroup"):
        _, kinds, place = line.split(":", 2)
        if not kinds:
            top, limit, used = "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in kinds.split(","):
            top, limit, used = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        # Inside a container the path may be the host's, which is not mounted: the group is then the top.
        here = root / top / place.lstrip("/")
        while True:
            yield _headroom(here, limit, used)
            if here == root / top:
                break
            here = here.parent


def _headroom(group: Path, limit: str, used: str) -> int | None:
    most, now = _number(group / limit), _number(group / used)
    if most is None or now is None:
        return None
    dropped = [line.split()[1] for line in _lines(group / "memory.stat") if line.startswith("inactive_file ")]
    return max(most - now + sum(map(int, dropped)), 0)


def _number(path: Path) -> int | None:
    """The number in a file; None for "max" and where there is no such file."""
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].strip().isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def peak_memory(work: Callable[[], object]) -> int | None:
    """The most bytes that this process had in memory while it did `work`.

    On Linux of the work alone, on macOS of the process's life so far; None where the system tells neither.
    """
    status = Path("/proc/self/status")
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    work()
    for line in _lines(status):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def release_memory() -> None:
    """Hand memory that was freed back to the system.

    The C library keeps it between what is still in use: after a model was loaded, more than the model itself. Where its
    allocator is not that of glibc, nothing is done.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)
