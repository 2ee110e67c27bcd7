"""Measuring scripts see the memory of what they start, not their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the export extra")

import isolated

MEASURES = """
import sys
from pathlib import Path
import isolated
if __name__ == "__main__":
    isolated.save_random(Path(sys.argv[1]), "yolov7-tiny")
    print(isolated.run([sys.executable, "-c", "pass"]).peak, isolated.run([sys.executable, "-c", sys.argv[2]]).peak)
"""


def test_random_weights_cost_the_next_process_nothing(tmp_path: Path) -> None:
    script = tmp_path / "measures.py"
    script.write_text(MEASURES)
    environment = os.environ | {"PYTHONPATH": str(Path(isolated.__file__).parent)}
    command = [sys.executable, script, tmp_path / "random.safetensors", "held = b'x' * 200_000_000"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    nothing, held = map(int, done.stdout.split())
    assert (tmp_path / "random.safetensors").stat().st_size > 20e6
    assert nothing < 60e6
    assert 200e6 < held < 260e6


def test_process_endings_are_described() -> None:
    assert isolated.run([sys.executable, "-c", "raise SystemExit(4)"]).code == 4
    slow = isolated.run([sys.executable, "-c", "import time; time.sleep(0.2)"])
    assert (slow.code, slow.seconds > 0.2) == (0, True)
