"""Artifacts in the cache: made once for all processes that want one at the same time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.artifact.cached import made_once
from edgeyolo.errors import EdgeYoloError

PROCESSES = 8
WORKER = """
import shutil, sys, time
from pathlib import Path
from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.cached import made_once
from edgeyolo.support.files import atomic_directory
source, place = Path(sys.argv[1]), Path(sys.argv[2])
def make():
    with atomic_directory(place, overwrite=True, marker="manifest.json") as folder:
        time.sleep(0.5)
        shutil.copytree(source, folder, dirs_exist_ok=True)
    print("made")
    return Artifact.open(place)
print(made_once(place, make).sha256)
"""


def test_one_of_eight_processes_makes_the_artifact(small_artifact: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(small_artifact), str(tmp_path / "cache" / "it")]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    answers = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES, answers
    lines = [line for out, _ in answers for line in out.split()]
    assert lines.count("made") == 1
    assert set(lines) - {"made"} == {Artifact.open(small_artifact).sha256}


@pytest.mark.slow
def test_eight_processes_open_the_same_weights_for_the_first_time(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Detector(weights) in each: one exports, the others wait; exports are watched by the steps they tell."""
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    code = "import sys; from edgeyolo import Detector; Detector(sys.argv[1], size=64, step=print)"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(small_weights)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    answers = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES, answers
    assert sum("re-parameterizing" in out for out, _ in answers) == 1


@pytest.mark.parametrize("damage", ["manifest", "no manifest", "file"])
def test_a_damaged_one_is_made_again(small_artifact: Path, tmp_path: Path, damage: str) -> None:
    place = tmp_path / "it"
    shutil.copytree(small_artifact, place)
    if damage == "no manifest":
        (place / MANIFEST).unlink()
    elif damage == "manifest":
        (place / MANIFEST).write_bytes(b"\xff" + (place / MANIFEST).read_bytes())
    else:
        (place / "golden.npz").write_bytes(b"")

    def make() -> Artifact:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(small_artifact, place)
        return Artifact.open(place)

    assert made_once(place, make).sha256 == Artifact.open(small_artifact).sha256


def test_a_failure_is_the_caller_s_and_the_next_one_tries(small_artifact: Path, tmp_path: Path) -> None:
    def fail() -> Artifact:
        raise EdgeYoloError("no")

    with pytest.raises(EdgeYoloError, match="no"):
        made_once(tmp_path / "it", fail)
    assert made_once(tmp_path / "it", lambda: Artifact.open(small_artifact)).path == small_artifact


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeYoloError, match="cannot write") as told:
        made_once(tmp_path / "file" / "it", lambda: pytest.fail("made"))
    assert "EDGEYOLO_CACHE" in told.value.hint
