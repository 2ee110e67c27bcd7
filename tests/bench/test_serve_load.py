"""The limits of the load on a server, from both sides."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import serve_load

GOOD: dict[str, Any] = {
    "capacity": {"server / Detector.submit": 0.9},
    "twice the capacity": {
        "statuses": {"200": 9, "503": 9}, "wrong": 0, "MB more at most": 5.0, "p99 ms": 640.0,
        "queue and a batch x service ms at the slowest": 640.0,
    },
    "a worker killed": {"statuses": {"200": 9, "503": 8}, "wrong": 0, "statuses afterwards": {"200": 9}},
}  # fmt: skip
BAD = [
    ("capacity", "server / Detector.submit", 0.899, "rate"),
    ("twice the capacity", "statuses", {"200": 9, "500": 1}, "statuses"),
    ("twice the capacity", "statuses", {"503": 9}, "statuses"),
    ("twice the capacity", "wrong", 1, "wrong"),
    ("twice the capacity", "MB more at most", 5.1, "MB more"),
    ("twice the capacity", "p99 ms", 641.0, "p99"),
    ("twice the capacity", "queue and a batch x service ms at the slowest", None, "p99"),
    ("a worker killed", "statuses", {"200": 9, "503": 9}, "killed"),
    ("a worker killed", "statuses", {"200": 9}, "killed"),
    ("a worker killed", "statuses", {"200": 9, "503": 1, "500": 1}, "killed"),
    ("a worker killed", "statuses afterwards", {"200": 9, "503": 1}, "after a worker"),
]


def test_what_holds_is_no_fault() -> None:
    assert serve_load.faults(GOOD) == []


@pytest.mark.parametrize(("phase", "name", "value", "word"), BAD)
def test_every_limit_is_a_limit(phase: str, name: str, value: object, word: str) -> None:
    facts = deepcopy(GOOD)
    facts[phase][name] = value
    (said,) = serve_load.faults(facts)
    assert word in said


def test_the_slowest_answers_in_a_row() -> None:
    assert serve_load.slowest([0.0, 1.0, 2.0, 9.0, 10.0, 11.0], 2) == 8000.0
    assert serve_load.slowest([0.0, 1.0], 2) is None


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")
def test_processes_and_their_memory_are_found() -> None:
    code = "import subprocess, sys; print(flush=True); subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        end = time.monotonic() + 20
        while len(found := serve_load.family(process.pid)) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        assert found[0] == process.pid and len(found) == 2 and process.pid in serve_load.family(os.getpid())
        assert serve_load.resident(process.pid) > 1
        assert serve_load.processor_seconds(process.pid) >= 0
        process.communicate(b"\n")
