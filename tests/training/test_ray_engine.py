"""The engine of Ray: two local processes, one of them killed on the way, end with the bits of two that lived."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("ray.train", reason="needs ray, which is not installed for the tests")
pytest.importorskip("faster_coco_eval")

from edgeyolo.datasets.scenes import write_dataset  # noqa: E402
from edgeyolo.models import weights  # noqa: E402
from edgeyolo.training.loop.state import read_facts  # noqa: E402
from edgeyolo.training.loop.trainer import STATE  # noqa: E402
from edgeyolo.training.ray_engine import CHECKPOINTS  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc"),
]

OPTIONS = (
    "--imgsz", 64, "--batch", 4, "--threads", 1, "--set", "nominal_batch=8", "--set", "warmup_iterations=2",
    "--engine", "ray", "--processes", 2,
)  # fmt: skip


def workers(below: int) -> list[int]:
    """Training processes of Ray of the driver that `below` started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
            if "RayTrainWorker" in line and f"RAY_TEST_OF={below}" in (folder / "environ").read_text():
                found.append(int(folder.name))
        except OSError:  # it has just ended, or is another user's
            continue
    return found


def start(cwd: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edgeyolo", "train", *map(str, arguments), "--json"]
    environment = os.environ | {"RAY_TEST_OF": str(os.getpid())}
    with (cwd / "log.txt").open("a") as log:
        return subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )


def finish(driver: subprocess.Popen[str], cwd: Path) -> dict[str, Any]:
    out, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, (cwd / "log.txt").read_text()[-3000:]
    found: dict[str, Any] = json.loads(out[out.index("{\n") :])
    return found


def test_a_killed_process_changes_nothing_of_the_result(tmp_path: Path, small_weights: Path) -> None:
    train = write_dataset(tmp_path / "train", range(1000, 1008), (96, 96))
    val = write_dataset(tmp_path / "val", range(4), (96, 96))
    run = (small_weights, "--data", train, "--val-data", val, *OPTIONS)
    whole = finish(start(tmp_path, *run, "--epochs", 6, "-o", "whole"), tmp_path)

    driver = start(tmp_path, *run, "--epochs", 6, "-o", "killed")
    table = tmp_path / "killed/results.csv"
    while not table.exists() or len(table.read_text().splitlines()) < 3:  # two epochs are done
        assert driver.poll() is None, (tmp_path / "log.txt").read_text()[-3000:]
        time.sleep(0.005)
    lost = workers(os.getpid())
    assert len(lost) == 2
    os.kill(lost[1], signal.SIGKILL)
    killed = finish(driver, tmp_path)
    assert "going on at epoch" in (tmp_path / "log.txt").read_text()

    columns = ("epoch", "lr", "box", "obj", "cls", "AP", "AP50")
    tables = [[[row[name] for name in columns] for row in found["epochs"]] for found in (whole, killed)]
    assert len(tables[0]) == 6
    assert tables[0] == tables[1]
    for name in ("last", "best"):
        one, other = (
            weights.load(tmp_path / folder / f"weights/{name}.safetensors").network.state_dict()
            for folder in ("whole", "killed")
        )
        assert [key for key in one if not torch.equal(one[key], other[key])] == []
    assert read_facts(tmp_path / "killed" / STATE)["processes"] == 2
    assert not (tmp_path / "killed" / CHECKPOINTS).exists()

    again = ("--resume", "killed", "--epochs", 7, "--engine", "ray", "--processes", 2)
    assert [row["epoch"] for row in finish(start(tmp_path, *again), tmp_path)["epochs"]] == list(range(7))
