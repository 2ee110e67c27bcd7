"""Locks between processes.

A lock is a file that one holder at a time has locked, until it lets go or ends.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgeyolo.errors import EdgeYoloError

if TYPE_CHECKING:
    from filelock import BaseFileLock

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)  # some network file systems


@contextmanager
def locked(
    path: Path, *, wait_s: float = 3600.0, waiting: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold the lock file `path` for the block, alone among processes and threads.

    The file stays. Waits up to `wait_s` seconds for another holder, and calls `waiting` once before it does. On a
    file system without locks it holds nothing.

    Raises EdgeYoloError when the time is over, OSError where it cannot write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(path)
    if not _acquired(lock, unsupported=True):
        if waiting and wait_s > 0:
            waiting()
        if not _acquired(lock, unsupported=True, wait_s=wait_s):
            hint = "Wait for the other process to end, or end it, and try again."
            raise EdgeYoloError(f"another process still holds {path} after {wait_s:g} s", hint=hint)
    try:
        yield
    finally:
        lock.release()


def hold(path: Path, *, create: bool = True) -> BaseFileLock | None:
    """Lock the file at once and return the lock.

    None where another holds it or has just removed it.
    Where the file system knows no locks, a file that may be created counts as held by the caller, one that
    must exist as held by another. `release` the lock; doing it twice does nothing.

    Raises FileNotFoundError or FileExistsError where another process removes the directory meanwhile.
    """
    if not create and not path.exists():
        return None
    lock = _lock(path)
    try:
        return lock if _acquired(lock, unsupported=create) else None
    except (FileNotFoundError, FileExistsError):  # filelock makes the directory, which can vanish under it
        if create:
            raise
        return None


def _lock(path: Path) -> BaseFileLock:
    # Imported here: reading and running an artifact locks nothing.
    from filelock import FileLock

    # Of the operating system or none: a marker file would outlive a process that is killed.
    return FileLock(path, thread_local=False, fallback_to_soft=False, preserve_lock_file=True)


def _acquired(lock: BaseFileLock, *, unsupported: bool, wait_s: float = 0.0) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return unsupported
        raise
    return True
