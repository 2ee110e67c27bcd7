"""The engine of Ray: the rows of local processes, also where the driver and an actor are killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

pq = pytest.importorskip("pyarrow.parquet", reason="needs the predict extra")
pytest.importorskip("ray", reason="needs ray, which is not installed for the tests")

from edgeyolo.artifact.artifact import Artifact  # noqa: E402
from edgeyolo.datasets.scenes import make_scene  # noqa: E402
from edgeyolo.detector import builtin  # noqa: E402
from edgeyolo.predict import Options, predict  # noqa: E402
from edgeyolo.predict.shards import folder_of  # noqa: E402

IMAGES = 20


def processes(word: str, below: int) -> list[int]:
    """Processes of Linux whose command line has a word, of the session of processes that `below` leads."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
            if word in line and f"RAY_TEST_OF={below}" in (folder / "environ").read_text():
                found.append(int(folder.name))
        except OSError:  # it has just ended, or is another user's
            continue
    return found


def wait(until: Callable[[], bool], driver: subprocess.Popen[bytes]) -> None:
    while not until():
        assert driver.poll() is None, "the driver has ended"
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_a_killed_driver_and_a_killed_actor_go_on(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out.parquet"
    photos.mkdir()
    for seed in range(IMAGES - 1):
        cv2.imwrite(str(photos / f"{seed:02d}.png"), make_scene(seed).image)
    (photos / "broken.png").write_bytes(b"none")
    artifact, local = Artifact.open(builtin.artifact_path()), tmp_path / "local.parquet"
    predict(artifact, photos, local, Options({"conf": 0.001}, workers=1))

    words = ["predict", str(artifact.path), str(photos), "-o", str(out), "--conf", "0.001", "--shard", "1"]
    command = [sys.executable, "-m", "edgeyolo", *words, "--engine", "ray", "--workers", "1"]
    environment = os.environ | {"RAY_TEST_OF": str(os.getpid())}

    def done() -> int:
        return len(list(folder_of(out).glob("*.parquet")))

    first = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    wait(lambda: done() >= 3, first)
    first.kill()
    assert first.wait() == -signal.SIGKILL and not out.exists()
    second = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    wait(lambda: done() >= 8, second)
    actors = processes("ray::MapWorker", os.getpid())
    assert actors
    for actor in actors:
        os.kill(actor, signal.SIGKILL)
    assert second.wait(timeout=240) == 0
    assert pq.read_table(out).equals(pq.read_table(local))
    assert not folder_of(out).exists()
