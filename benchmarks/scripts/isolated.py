"""Work in processes of their own.

The memory that one of them needs is then not taken for another's.

On Linux the peak of a process begins with that of the process that started it: who measures others stays small itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Spent:
    """Cost of a process.

    Its exit code, seconds, the most resident bytes, and seconds of processor time.
    """

    code: int
    seconds: float
    peak: int
    processor: float


def run(command: Sequence[str], **streams: Any) -> Spent:
    """Run a command to its end; `streams` as for `subprocess.Popen`.

    It does not outlive a run that is interrupted.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, **streams)
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    processor = usage.ru_utime + usage.ru_stime
    return Spent(process.returncode, time.perf_counter() - start, peak, processor)


def save_random(path: Path, network: str) -> None:
    """`random_weights.save_random` of a network called by its name."""
    with get_context("spawn").Pool(1) as fresh:
        fresh.apply(_save_random, (path, network))


def _save_random(path: Path, network: str) -> None:
    from edgeyolo.models.specs import find
    from edgeyolo_bench.measure import random_weights

    random_weights.save_random(path, find(network))
