"""The two limits of a machine, measured.

Operations and bytes per second with a number of threads.

`python -m edgeyolo_bench.limits.peaks THREADS` prints them as JSON; `measure_peaks` runs that in a process of its own,
because numpy's threads are settled when it is loaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo.support.dataclass_json import from_plain, to_plain
from edgeyolo_bench.limits.gemm import SIDES, Peak, fastest, gemm_peaks

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True)
class Peaks:
    """Measured peaks of arithmetic and memory.

    `gemm`: arithmetic -> what each library reaches, fastest first. `bandwidth`: access -> GB/s (1e9 bytes).

    "copy" and "add" count as STREAM does: every value read and every value written once; "read" only reads.
    `array_bytes` is the size of one of their arrays, `cache_bytes` that of the largest cache (None: not known).
    """

    threads: int
    gemm: Mapping[str, tuple[Peak, ...]]
    bandwidth: Mapping[str, float]
    array_bytes: int
    cache_bytes: int | None

    def gops(self, arithmetic: str) -> float | None:
        """The most operations per nanosecond measured in an arithmetic.

        None where no library does it.
        """
        return self.gemm[arithmetic][0].gops if arithmetic in self.gemm else None

    @property
    def gbps(self) -> float:
        """The most bytes per nanosecond measured in any access."""
        return max(self.bandwidth.values())


def measure_peaks(threads: int) -> Peaks:
    """Measure both limits with `threads` threads; takes some seconds.

    Raises EdgeYoloError if the measuring process ends badly.
    """
    environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads))
    done = subprocess.run(
        [sys.executable, "-m", "edgeyolo_bench.limits.peaks", str(threads)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise EdgeYoloError(f"measuring the machine's limits ended with {done.returncode}: {last}")
    peaks: Peaks = from_plain(Peaks, json.loads(done.stdout.splitlines()[-1]), "peaks")
    return peaks


def measure_here(
    threads: int, *, sides: tuple[int, ...] = SIDES, seconds: float = 0.3, array_bytes: int = 0
) -> Peaks:
    """Measure in this process.

    Arrays are made four times as large as the largest cache unless their size is given.
    """
    if threads < 1:
        raise UsageError(f"threads: expected a number from 1, got {threads}")
    cache = largest_cache()
    size = array_bytes or _array_bytes(cache)
    return Peaks(
        threads, gemm_peaks(threads, sides=sides, seconds=seconds), _bandwidth(threads, size, seconds), size, cache
    )  # fmt: skip


def largest_cache() -> int | None:
    """Bytes of the largest cache that the system names; None where it names none."""
    sizes = [path.read_text().strip() for path in _CACHES.glob("index*/size")]
    units = {"K": 1 << 10, "M": 1 << 20}
    return max((int(size[:-1]) * units[size[-1]] for size in sizes if size[-1:] in units), default=None)


def _array_bytes(cache: int | None) -> int:
    """Four caches, between 32 and 512 MiB, and at most a sixteenth of the memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 32
    return min(max(4 * (cache or 1 << 24), 1 << 25), 1 << 29, memory // 16)


def _bandwidth(threads: int, array_bytes: int, seconds: float) -> dict[str, float]:
    count = array_bytes // 4 // threads * threads
    a, b, c = (np.ones(count, np.float32) for _ in range(3))
    pieces = [slice(i * count // threads, (i + 1) * count // threads) for i in range(threads)]

    def copy(piece: slice) -> None:
        np.copyto(a[piece], b[piece])

    def add(piece: slice) -> None:
        np.add(b[piece], c[piece], out=a[piece])

    def read(piece: slice) -> None:
        np.max(b[piece])

    # numpy lets go of the interpreter in all three, so the threads run side by side.
    with ThreadPoolExecutor(threads) as pool:

        def everywhere(access: Callable[[slice], None]) -> None:
            list(pool.map(access, pieces))

        moved = {copy: 2, add: 3, read: 1}
        return {
            access.__name__: 4 * count * arrays / fastest(partial(everywhere, access), seconds) / 1e9
            for access, arrays in moved.items()
        }


if __name__ == "__main__":
    print(json.dumps(to_plain(measure_here(int(sys.argv[1])))))
