"""Lifetimes in bench: no process outlives its measurement, and a silent device ends at a limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgeyolo.errors import EdgeYoloError
from edgeyolo_bench.remote import ssh

MEASURING = """
import sys
from pathlib import Path
from edgeyolo_bench.measure.scenarios import choose
from edgeyolo_bench.measure.subject import Job
from edgeyolo_bench.measure.worker import Worker
from edgeyolo_bench.measure.workload import generated
if __name__ == "__main__":
    worker = Worker(Job("small", "cpu-onnx-fp32", Path(sys.argv[1]), choose("single-stream"), generated(2), 1))
    worker.open()
    print(worker._process.pid, flush=True)
    worker.turn(600.0, 1, refresh=False)
"""


def ended(process: int) -> bool:
    """Return True if a process has ended, waited for or not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_measuring_process_ends_with_the_one_that_asked(
    how: signal.Signals, small_artifact: Path, tmp_path: Path
) -> None:
    script = tmp_path / "measuring.py"
    script.write_text(MEASURING)
    asking = subprocess.Popen([sys.executable, script, small_artifact], stdout=subprocess.PIPE, text=True)
    assert asking.stdout is not None
    worker = int(asking.stdout.readline())
    time.sleep(0.3)  # it measures
    assert not ended(worker)
    asking.send_signal(how)
    asking.communicate(timeout=30)
    deadline = time.monotonic() + 20
    while not ended(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        assert ended(worker)
    finally:
        if not ended(worker):
            os.kill(worker, signal.SIGKILL)


def fake_ssh(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ssh that does what `script` says."""
    file = folder / "ssh"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize("script", ["exec sleep 60", "echo it begins >&2; exec sleep 60"])
def test_a_silent_device_is_given_up(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ssh(tmp_path, script, monkeypatch)
    with pytest.raises(EdgeYoloError, match="device: no answer for"):
        ssh.run("device", "true", [b"x" * 1_000_000] * 3, silence=0.5)


def test_a_device_that_speaks_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ssh(tmp_path, "for n in 1 2 3 4 5 6 7 8; do echo $n >&2; sleep 0.25; done; echo done", monkeypatch)
    assert ssh.run("device", "true", [], silence=1.5).output == "done\n"
