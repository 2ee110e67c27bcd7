"""Atomic writing survives errors, Ctrl-C and kill -9; the cache is where the environment says."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path, PureWindowsPath

import pytest

from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo.support import files
from edgeyolo.support.files import WORKSPACE_PREFIX, atomic_directory, atomic_file, user_cache
from edgeyolo.support.hashes import sha256

WRITER = """
import sys, time
from edgeyolo.support.files import atomic_directory, atomic_file
kind, path = sys.argv[1:]
if kind == "file":
    with atomic_file(path) as draft, draft.open("wb") as file:
        file.write(b"half")
        file.flush()
        print("writing", flush=True)
        time.sleep(60)
else:
    with atomic_directory(path, overwrite=True) as draft:
        (draft / "model.onnx").write_bytes(b"half")
        print("writing", flush=True)
        time.sleep(60)
"""


def _left_over(folder: Path) -> list[Path]:
    return list(folder.glob(f"{WORKSPACE_PREFIX}*"))


def _interrupted_writer(kind: str, path: Path, number: signal.Signals) -> int:
    """Start a writer in another process, send it `number` in the middle and return its exit status."""
    # fault handlers and shells may leave SIGINT ignored in children; the writer needs Python's own handler
    command = [sys.executable, "-c", f"import signal; signal.signal(2, signal.default_int_handler)\n{WRITER}"]
    with subprocess.Popen(
        [*command, kind, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(number)
        return process.wait(timeout=20)


# --- files


def test_a_file_appears_complete_and_under_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "network.onnx"
    with atomic_file(path) as draft:
        assert draft.name == "network.onnx"
        draft.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert [entry.name for entry in path.parent.iterdir()] == ["network.onnx"]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with atomic_file(str(path)) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(error), atomic_file(path) as draft:
        draft.write_text("new")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_removes_the_parents_it_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), atomic_file(tmp_path / "one" / "two" / "a.json"):
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EdgeYoloError, match="nothing was written"), atomic_file(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_directories_and_devices_are_not_replaced(tmp_path: Path) -> None:
    for path in (tmp_path, Path(os.devnull)):
        with pytest.raises(UsageError, match="not a regular file"), atomic_file(path) as draft:
            draft.write_text("x")
    assert not Path(os.devnull).is_file()


def test_a_link_is_followed_and_kept(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "real.json"
    target.parent.mkdir()
    target.write_text("old")
    link = tmp_path / "link.json"
    link.symlink_to(target)
    with atomic_file(link) as draft:
        draft.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_file_has_the_permissions_of_an_ordinary_one(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    with atomic_file(tmp_path / "atomic") as draft:
        draft.write_text("x")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")}
    assert len(modes) == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EdgeYoloError, match="cannot write") as caught, atomic_file(tmp_path / "file" / "a"):
        pass
    assert str(tmp_path / "file" / "a") in caught.value.message
    assert caught.value.hint


def test_eight_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for _ in range(10):
                with atomic_file(path) as draft:
                    draft.write_bytes(bytes([number]) * 4096)
                content = path.read_bytes()
                assert len(content) == 4096
                assert len(set(content)) == 1
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(tmp_path.iterdir()) == [path]


# --- killed processes


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_kill_leaves_the_old_file_and_the_next_writer_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    assert _interrupted_writer("file", path, signal.SIGKILL) == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(_left_over(tmp_path)) == 1
    with atomic_file(path) as draft:
        draft.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_ctrl_c_leaves_nothing(tmp_path: Path, kind: str) -> None:
    status = _interrupted_writer(kind, tmp_path / "out" / "a", signal.SIGINT)
    assert status in (-signal.SIGINT, 130)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_killed_export_leaves_nothing_at_the_destination(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    _interrupted_writer("directory", path, signal.SIGKILL)
    assert not path.exists()
    with atomic_directory(path) as draft:
        assert list(draft.iterdir()) == []
        (draft / "model.onnx").write_bytes(b"whole")
    assert list(tmp_path.iterdir()) == [path]


def test_the_workspace_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with atomic_file(path) as first:
        first.write_text("first")
        with atomic_file(path) as second:
            assert len(_left_over(tmp_path)) == 2
            second.write_text("second")
        assert first.read_text() == "first"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_workspace_without_a_lock_is_removed_only_when_old(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with atomic_file(path) as draft:
        workspace = draft.parent.parent
        draft.write_text("x")
    workspace.mkdir()
    with atomic_file(path) as draft:
        draft.write_text("y")
    assert _left_over(tmp_path) == [workspace]
    os.utime(workspace, (time.time() - 7200, time.time() - 7200))
    with atomic_file(path) as draft:
        draft.write_text("z")
    assert _left_over(tmp_path) == []


# --- directories


def test_a_directory_appears_complete(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "artifact"
    with atomic_directory(path) as draft:
        (draft / "vectors").mkdir()
        (draft / "vectors" / "input.bin").write_bytes(b"\0" * 10)
        (draft / "manifest.json").write_text("{}")
        assert not path.exists()
    assert sorted(entry.name for entry in path.iterdir()) == ["manifest.json", "vectors"]
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_directory(tmp_path / "runs" / "artifact") as draft:
        (draft / "model.onnx").write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_existing_directory_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    with pytest.raises(UsageError, match="already exists"), atomic_directory(tmp_path / "artifact"):
        pytest.fail("the block ran")


def test_a_directory_that_appears_meanwhile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    with pytest.raises(UsageError, match="already exists"), atomic_directory(path):
        path.mkdir()
        (path / "theirs").write_text("x")
    assert [entry.name for entry in path.iterdir()] == ["theirs"]
    assert _left_over(tmp_path) == []


def test_a_file_is_never_overwritten_by_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(UsageError, match="is a file"), atomic_directory(tmp_path / "a", overwrite=True):
        pytest.fail("the block ran")


def test_the_current_directory_is_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (".", tmp_path.parent):
        with pytest.raises(UsageError, match="current directory"), atomic_directory(path, overwrite=True):
            pytest.fail("the block ran")


def test_only_a_marked_or_empty_directory_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "photos"
    path.mkdir()
    with atomic_directory(path, overwrite=True, marker="manifest.json") as draft:  # empty
        (draft / "manifest.json").write_text("1")
    with atomic_directory(path, overwrite=True, marker="manifest.json") as draft:  # marked
        (draft / "holiday.jpg").write_text("2")
    with (
        pytest.raises(UsageError, match=r"no manifest\.json"),
        atomic_directory(path, overwrite=True, marker="manifest.json"),
    ):
        pytest.fail("the block ran")
    assert (path / "holiday.jpg").read_text() == "2"


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
def test_overwriting_replaces_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    path = tmp_path / "artifact"
    path.mkdir()
    (path / "old").write_text("x")
    with atomic_directory(path, overwrite=True) as draft:
        (draft / "new").write_text("y")
        assert (path / "old").exists()
    assert [entry.name for entry in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_the_exchange_has_no_moment_without_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    with atomic_directory(path) as draft:
        (draft / "n").write_text("0")
    if not files._exchange(path, path):
        pytest.skip("the file system of the temporary directory cannot exchange two directories")
    missing: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if not path.is_dir():
                missing.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for number in range(40):
            with atomic_directory(path, overwrite=True) as draft:
                (draft / "n").write_text(str(number))
    finally:
        done.set()
        watcher.join()
    assert missing == []
    assert (path / "n").read_text() == "39"


def test_a_kill_between_two_renames_is_undone_by_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    path.mkdir()
    (path / "old").write_text("x")
    script = (
        "import os, sys, pathlib\n"
        "from edgeyolo.support import files\n"
        "files._exchange = lambda one, other: False\n"
        "rename = pathlib.Path.rename\n"
        "def killed(self, target):\n"
        "    rename(self, target)\n"
        "    os._exit(9)\n"
        "pathlib.Path.rename = killed\n"
        "with files.atomic_directory(sys.argv[1], overwrite=True) as draft:\n"
        "    (draft / 'new').write_text('y')\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 9
    assert not path.exists()
    with pytest.raises(UsageError, match="already exists"), atomic_directory(path):
        pytest.fail("the block ran")
    assert (path / "old").read_text() == "x"
    assert _left_over(tmp_path) == []


def test_a_failed_second_rename_puts_the_old_directory_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "artifact"
    path.mkdir()
    (path / "old").write_text("x")
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.parent.name == "new":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(EdgeYoloError, match="No space"), atomic_directory(path, overwrite=True) as draft:
        (draft / "new").write_text("y")
    assert (path / "old").read_text() == "x"
    assert list(tmp_path.iterdir()) == [path]


# --- hash and cache


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_sha256(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "a").write_bytes(content[:size])
    assert sha256(tmp_path / "a") == hashlib.sha256(content[:size]).hexdigest()


def _environment(monkeypatch: pytest.MonkeyPatch, home: Path, **variables: str) -> None:
    for name in ("EDGEYOLO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.skipif(
    sys.platform in ("darwin", "win32"), reason="elsewhere than on Linux the place is another"
)
def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, xdg = tmp_path / "own", tmp_path / "xdg"
    _environment(monkeypatch, tmp_path, EDGEYOLO_CACHE=str(own), XDG_CACHE_HOME=str(xdg))
    assert user_cache() == own
    _environment(monkeypatch, tmp_path, EDGEYOLO_CACHE="~/mine")
    assert user_cache() == tmp_path / "mine"
    _environment(monkeypatch, tmp_path, XDG_CACHE_HOME=str(xdg))
    assert user_cache() == xdg / "edgeyolo"
    _environment(monkeypatch, tmp_path, XDG_CACHE_HOME="relative", EDGEYOLO_CACHE="")
    assert user_cache() == tmp_path / ".cache" / "edgeyolo"
    assert list(tmp_path.iterdir()) == []  # asking makes nothing


def test_the_cache_is_in_the_usual_place_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import platformdirs
    from platformdirs.macos import MacOS
    from platformdirs.windows import Windows

    _environment(monkeypatch, tmp_path)
    monkeypatch.setattr(platformdirs, "PlatformDirs", MacOS)
    assert user_cache() == tmp_path / "Library" / "Caches" / "edgeyolo"
    monkeypatch.setattr(platformdirs, "PlatformDirs", Windows)
    monkeypatch.setenv("WIN_PD_OVERRIDE_LOCAL_APPDATA", "C:\\Users\\me\\AppData\\Local")
    parts = PureWindowsPath(user_cache()).parts
    assert parts == ("C:\\", "Users", "me", "AppData", "Local", "edgeyolo", "Cache")


def test_no_home_says_which_variable_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import platformdirs

    def homeless(*_: object, **__: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    _environment(monkeypatch, tmp_path)
    monkeypatch.setattr(platformdirs, "user_cache_path", homeless)
    with pytest.raises(EdgeYoloError, match="EDGEYOLO_CACHE"):
        user_cache()
