"""Files that are either complete or not there.

Atomic writing, hashes, and where the cache is.

A writer works in a workspace: a hidden directory `.edgeyolo-tmp-...` beside the destination, on the same file
system, so that the last step is one rename. A workspace holds a lock file that its process keeps locked; the
operating system drops the lock however the process ends. Whoever next writes to the same destination finds an
unlocked workspace to be left over and removes it.
"""

from __future__ import annotations

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

if TYPE_CHECKING:
    from filelock import BaseFileLock

WORKSPACE_PREFIX = ".edgeyolo-tmp-"

_LOCK = "lock"
_NEW = "new"
_PREVIOUS = "previous"
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
    with _workspace(destination) as workspace:
        draft = workspace / _NEW / destination.name
        yield draft
        if not draft.is_file():
            raise EdgeYoloError(f"nothing was written to {path}")
        with _explained(path):
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
        draft.mkdir()
        yield draft
        refuse_occupied(destination, overwrite, marker)  # it may have appeared meanwhile
        with _explained(path):
            for file in draft.rglob("*"):
                if file.is_file() and not file.is_symlink():
                    _sync(file)
            _place(draft, destination, workspace)
            _sync_directory(destination.parent)


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file as 64 lower-case hexadecimal digits, read in pieces."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


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
def _explained(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "Choose a place that exists, has room and may be written."
        raise EdgeYoloError(f"cannot write {path}: {error.strerror or error}", hint=hint) from error


@contextmanager
def _workspace(destination: Path) -> Iterator[Path]:
    """A locked workspace for `destination`, with an empty directory `new`.

    Removed at the end.
    """
    parent = destination.parent
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    with _explained(destination):
        workspace, lock = _open_workspace(destination)
    try:
        yield workspace
        made = []
    finally:
        _discard(workspace, lock)
        for folder in made:
            with suppress(OSError):  # another process put something there
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
        hint = "Choose another directory, or ask for overwriting."
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
