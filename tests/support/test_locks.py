"""A lock has one holder, and goes with the process that had it."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgeyolo.errors import EdgeYoloError
from edgeyolo.support.locks import hold, locked

HOLDER = """
import sys, time, pathlib
from edgeyolo.support.locks import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_waits_and_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    told: list[str] = []
    entered = threading.Event()
    order: list[str] = []

    def second() -> None:
        with locked(path, waiting=lambda: (told.append("waiting"), entered.set())[0]):
            order.append("second")

    with locked(path):
        thread = threading.Thread(target=second)
        thread.start()
        assert entered.wait(5)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert told == ["waiting"]


def test_the_wait_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path):
        with pytest.raises(EdgeYoloError, match="still holds") as caught, locked(path, wait_s=0.0):
            pytest.fail("held twice")
        assert str(path) in caught.value.message
        assert caught.value.hint
    with locked(path, wait_s=0.0):
        assert hold(path) is None


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert hold(path) is None
        process.kill()
        process.wait(timeout=20)
    with locked(path, wait_s=0.0):
        assert path.exists()


def test_a_file_that_must_exist_is_not_made(tmp_path: Path) -> None:
    assert hold(tmp_path / "lock", create=False) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted there")
def test_a_lock_on_a_removed_file_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    path = tmp_path / "lock"
    lock = fcntl.flock

    def removed_just_before(handle: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX:
            path.unlink()
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", removed_just_before)
    assert hold(path) is None


@pytest.mark.skipif(sys.platform == "win32", reason="flock is POSIX")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_only_what_one_makes_counts_as_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    import fcntl

    def unsupported(handle: int, operation: int) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    path = tmp_path / "lock"
    mine = hold(path)
    assert mine is not None
    assert hold(path, create=False) is None
    mine.release()
    mine.release()
    with locked(path, wait_s=0.0):
        assert [each.name for each in tmp_path.iterdir()] == ["lock"]  # no marker that a kill would leave


def test_a_lock_may_be_dropped_by_another_thread_than_took_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    mine = hold(path)
    assert mine is not None
    thread = threading.Thread(target=mine.release)
    thread.start()
    thread.join()
    again = hold(path)
    assert again is not None
    again.release()
