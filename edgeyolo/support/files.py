"""Files that are either complete or not there.

Atomic writing, and where the cache is.

A writer works in a workspace: a hidden directory `.edgeyolo-tmp-...` beside the destination, on the same file
system, so that the last step is one rename. A workspace holds a lock file that its process keeps locked; the
operating system drops the lock however the process ends. Whoever next writes to the same destination finds an
unlocked workspace to be left over and removes it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo.support.locks import hold
from edgeyolo.support.system_errors import explain_system_error

if TYPE_CHECKING:
    from filelock import BaseFileLock

WORKSPACE_PREFIX = ".edgeyolo-tmp-"

_LOCK = "lock"
_NEW = "new"
_PREVIOUS = "previous"
_PROBE_BYTES = 1 << 16  # more than file systems keep beside the name of a file
_UNLOCKED_AGE_S = 3600.0  # a workspace without a lock file is one being made, or one killed in that instant


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to.

    The file replaces what was at `path` when the block ends well.

    The yielded path has the same name (so that a writer may look at the suffix) in a directory of its own on
    the same file system. The file is synced to disk before it is renamed. Whatever the block raises,
    KeyboardInterrupt included, `path` stays as it was. Missing parents are made; a link is followed.

    Raises UsageError where `path` is a directory or a device, EdgeYoloError where it cannot be written.
    """
    destination = Path(path).resolve()
    if destination.exists() and not destination.is_file():
        raise UsageError(
            f"{path} is not a regular file, so it is not replaced", hint="Choose another file name."
        )
    with _workspace(destination) as workspace, _explained(path, workspace):
        draft = workspace / _NEW / destination.name
        yield draft
        if not draft.is_file():
            raise _full(path, workspace) or EdgeYoloError(f"nothing was written to {path}")
        _sync(draft)
        draft.replace(destination)
        _sync_directory(destination.parent)


@contextmanager
def atomic_directory(path: str | Path, *, overwrite: bool = False, marker: str = "") -> Iterator[Path]:
    """Yield an empty directory to fill.

    It becomes `path` in one rename when the block ends well.

    Whatever the block raises, nothing is left at `path`, or what was there stays as it was. With `overwrite`
    an existing directory is exchanged for the new one: in one step where the system (Linux, macOS) and the
    file system can, otherwise by two renames; a kill between the two is undone by the next writer. With
    `marker` only a directory that holds a file of that name, or nothing, is overwritten. Missing parents are
    made.

    Raises UsageError where `path` may not be overwritten, EdgeYoloError where it cannot be written.
    """
    destination = Path(path).resolve()
    refuse_occupied(destination, overwrite, marker)
    with _workspace(destination) as workspace:
        refuse_occupied(destination, overwrite, marker)  # a killed writer's half-done exchange is undone now
        draft = workspace / _NEW / destination.name
        with _explained(path, workspace):
            draft.mkdir()
            yield draft
            refuse_occupied(destination, overwrite, marker)  # it may have appeared meanwhile
            for file in draft.rglob("*"):
                if file.is_file() and not file.is_symlink():
                    _sync(file)
            _place(draft, destination, workspace)
            _sync_directory(destination.parent)


def require_writable(folder: str | Path) -> None:
    """Raise EdgeYoloError where a folder cannot be made or takes no file.

    Asked before hours of work are lost to it.

    Asked by writing a small file and removing it, and the folders that were made for it: permissions do not tell of
    read-only systems, quotas and full disks.
    """
    wanted = Path(folder).resolve()
    if wanted.exists() and not wanted.is_dir():
        raise EdgeYoloError(f"{folder} is a file, not a folder", hint="Choose another place with -o.")
    with _workspace(wanted / "probe", keep=False) as workspace, _explained(folder, workspace):
        probe = workspace / _NEW / "probe"
        probe.write_bytes(os.urandom(_PROBE_BYTES))
        _sync(probe)


def require_room(folder: str | Path, needed: int) -> None:
    """Raise EdgeYoloError where less than `needed` bytes are free on a folder's disk.

    The folder, or what it will be made in, must be there.
    """
    place = Path(folder).resolve()
    place = next(each for each in (place, *place.parents) if each.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise EdgeYoloError(
            f"{folder}: about {needed / 1e6:,.0f} MB will be written, and {free / 1e6:,.0f} MB are free",
            hint="Free some space there, or choose another place with -o.",
        )


def user_cache() -> Path:
    """The directory edgeyolo may fill and a user may delete; it is not made here.

    $EDGEYOLO_CACHE, else $XDG_CACHE_HOME/edgeyolo, else the system's place: ~/.cache/edgeyolo,
    ~/Library/Caches/edgeyolo on macOS, %LOCALAPPDATA%\\edgeyolo\\Cache on Windows.
    """
    # Imported here: most of what writes a file asks for no cache.
    from platformdirs import user_cache_path

    try:
        if own := os.environ.get("EDGEYOLO_CACHE"):
            return Path(own).expanduser().absolute()
        return user_cache_path("edgeyolo", appauthor=False)
    except RuntimeError as error:
        hint = "Set EDGEYOLO_CACHE to a directory that may be written."
        raise EdgeYoloError(f"no home directory to keep a cache in: {error}", hint=hint) from error


@contextmanager
def _explained(path: str | Path, workspace: Path | None = None) -> Iterator[None]:
    """Turn errors that hinder the writing of `path` into a sentence.

    With `workspace`, those of other files pass: they are of something that is read meanwhile.
    """
    try:
        yield
    except EdgeYoloError:
        raise
    except Exception as error:
        named = getattr(error, "filename", None)
        elsewhere = workspace and isinstance(named, str) and not Path(named).is_relative_to(workspace)
        if elsewhere or isinstance(error, MemoryError):
            raise
        reason = explain_system_error(error, path) or (_full(path, workspace) if workspace else None)
        if reason is None:
            raise
        raise EdgeYoloError(f"cannot write {reason.message}", hint=reason.hint) from error


def _full(path: str | Path, workspace: Path) -> EdgeYoloError | None:
    """The error for a full disk where it is full, else None.

    Native libraries fail on one without saying so.
    """
    with suppress(OSError):
        if shutil.disk_usage(workspace.parent).free < _PROBE_BYTES:
            return explain_system_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), path)
    return None


@contextmanager
def _workspace(destination: Path, *, keep: bool = True) -> Iterator[Path]:
    """A locked workspace for `destination`, with an empty directory `new`.

    Removed at the end.

    Folders that were made for it stay where the block ends well and `keep` says so.
    """
    parent = destination.parent
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    try:
        with _explained(destination if keep else parent):
            workspace, lock = _open_workspace(destination)
        try:
            yield workspace
            made = made if not keep else []
        finally:
            _discard(workspace, lock)
    finally:
        for folder in made:
            with suppress(OSError):  # it was never made, or another process put something there
                folder.rmdir()


def _open_workspace(destination: Path) -> tuple[Path, BaseFileLock]:
    # Named after the destination, so that left-overs are found without listing a directory of 100,000 images.
    stem = WORKSPACE_PREFIX + hashlib.sha256(os.fsencode(destination.name)).hexdigest()[:12]
    for number in range(1000):
        workspace = destination.parent / f"{stem}-{number}"
        if workspace.exists():
            _remove_left_over(workspace)
        destination.parent.mkdir(parents=True, exist_ok=True)  # another writer may remove one it made
        try:
            workspace.mkdir()
            lock = hold(workspace / _LOCK)
        except (FileExistsError, FileNotFoundError):  # another writer's, alive; or taken for a left-over
            continue
        if lock is not None:
            (workspace / _NEW).mkdir()
            return workspace, lock
    raise EdgeYoloError(f"1000 processes are writing {destination}")


def _remove_left_over(workspace: Path) -> None:
    """Remove the workspace of a process that has ended.

    What it was about to replace is put back before.
    """
    with suppress(FileNotFoundError):  # its process, or another writer, has just removed it
        old = time.time() - workspace.stat().st_mtime > _UNLOCKED_AGE_S
        lock = hold(workspace / _LOCK, create=old)
        if lock is None:
            return
        try:
            for previous in (workspace / _PREVIOUS).glob("*"):
                if not (workspace.parent / previous.name).exists():
                    previous.rename(workspace.parent / previous.name)
        finally:
            _discard(workspace, lock)


def _discard(workspace: Path, lock: BaseFileLock) -> None:
    # What cannot be removed now is left over, and the next writer's to remove. The lock is held to the last,
    # or this would remove a workspace that another writer makes under the same name.
    if sys.platform == "win32":  # an open file cannot be deleted there, nor its directory renamed
        lock.release()
        trash = workspace.with_name(f"{workspace.name}-{os.getpid()}-{time.monotonic_ns()}")
        with suppress(OSError):
            shutil.rmtree(workspace.rename(trash), ignore_errors=True)
    else:
        for folder in (_NEW, _PREVIOUS):
            shutil.rmtree(workspace / folder, ignore_errors=True)
        # The lock file goes last: whoever makes one anew in this directory finds the rest gone, and keeps it.
        with suppress(OSError):
            (workspace / _LOCK).unlink()
            workspace.rmdir()
        lock.release()


def refuse_occupied(destination: Path, overwrite: bool, marker: str) -> None:
    """Raise UsageError for a destination that must not be replaced.

    `destination` is an absolute path; `atomic_directory` would not write to it.
    """
    if not destination.exists():
        return
    if not destination.is_dir():
        raise UsageError(f"{destination} is a file, not a directory", hint="Choose another name.")
    if not overwrite:
        hint = "Choose another directory with -o, or replace it: --overwrite (overwrite=True)."
        raise UsageError(f"{destination} already exists", hint=hint)
    if destination == Path.cwd() or destination in Path.cwd().parents:
        hint = "Choose another directory."
        raise UsageError(f"{destination} holds the current directory and is not overwritten", hint=hint)
    if marker and not (destination / marker).is_file() and any(destination.iterdir()):
        hint = "Choose another directory."
        raise UsageError(f"{destination} holds other things (no {marker}) and is not overwritten", hint=hint)


def _place(draft: Path, destination: Path, workspace: Path) -> None:
    if not destination.exists():
        draft.rename(destination)
    elif not _exchange(draft, destination):
        previous = workspace / _PREVIOUS / destination.name
        previous.parent.mkdir()
        destination.rename(previous)
        try:
            draft.rename(destination)
        except BaseException:
            previous.rename(destination)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two directories in one step.

    False where the system or the file system cannot.
    """
    if sys.platform == "win32":
        return False
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    here, there = os.fsencode(one), os.fsencode(other)
    if hasattr(libc, "renameat2"):  # Linux: AT_FDCWD is -100, RENAME_EXCHANGE 2
        return bool(libc.renameat2(-100, here, -100, there, 2) == 0)
    if hasattr(libc, "renamex_np"):  # macOS: RENAME_SWAP is 2
        return bool(libc.renamex_np(here, there, 2) == 0)
    return False


def _sync(file: Path) -> None:
    # Windows syncs only what is open for writing; elsewhere a read-only file must do.
    with file.open("r+b" if sys.platform == "win32" else "rb") as handle:
        os.fsync(handle.fileno())


def _sync_directory(directory: Path) -> None:
    if sys.platform == "win32":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
