"""Memory that is left, from the files of a made-up system, and the peak of real work."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from edgeyolo.support.memory import available_memory, peak_memory, release_memory

GB = 10**9


def system(root: Path, files: dict[str, object]) -> Path:
    for name, content in {
        "proc/meminfo": f"MemTotal: 9 kB\nMemAvailable: {8 * GB // 1024} kB\n",
        **files,
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


V2 = {
    "proc/self/cgroup": "0::/pod/box",
    "sys/fs/cgroup/pod/box/memory.max": "max",
    "sys/fs/cgroup/pod/box/memory.current": 3 * GB,
    "sys/fs/cgroup/pod/memory.max": 5 * GB,
    "sys/fs/cgroup/pod/memory.current": 3 * GB,
}
V1 = {
    "proc/self/cgroup": "4:cpu,memory:/of/the/host\n1:cpu:/",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": 4 * GB,
    "sys/fs/cgroup/memory/memory.usage_in_bytes": 3 * GB,
    "sys/fs/cgroup/memory/memory.stat": f"cache 7\ninactive_file {GB}\nactive_file 5",
}
CASES = {
    "no groups": ({}, 8 * GB // 1024 * 1024),
    "a limit above the group": (V2, 2 * GB),
    "file pages are dropped": (V2 | {"sys/fs/cgroup/pod/memory.stat": f"inactive_file {GB}"}, 3 * GB),
    "version 1 in a container": (V1, 2 * GB),
    "a group over its limit": (V1 | {"sys/fs/cgroup/memory/memory.limit_in_bytes": GB}, 0),
    "more than the machine has": (V2 | {"sys/fs/cgroup/pod/memory.max": 99 * GB}, 8 * GB // 1024 * 1024),
}


@pytest.mark.parametrize("case", CASES)
def test_the_least_of_kernel_and_groups(case: str, tmp_path: Path) -> None:
    files, left = CASES[case]
    assert available_memory(system(tmp_path, files)) == left


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's own counters")
def test_the_peak_is_of_the_work_alone() -> None:
    def touch() -> None:
        with mmap.mmap(-1, 200_000_000) as memory:  # an array might be of memory that the C library keeps
            for place in range(0, len(memory), mmap.PAGESIZE):
                memory[place] = 1

    before = peak_memory(lambda: None)
    high = peak_memory(touch)
    after = peak_memory(lambda: None)
    assert before is not None and high is not None and after is not None
    assert 150e6 < high - before < 300e6
    assert after < high - 100e6


def test_memory_is_released_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do nothing where the C library has no such function."""
    calls = []

    class Glibc:
        def malloc_trim(self, kept: int) -> int:
            calls.append(kept)
            return 1

    monkeypatch.setattr("sys.platform", "linux")
    for library in (Glibc(), object()):
        monkeypatch.setattr("ctypes.CDLL", lambda name, library=library: library)
        release_memory()
    assert calls == [0]
