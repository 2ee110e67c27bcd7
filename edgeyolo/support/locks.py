"""Locks between processes.

Files that one holder at a time has locked, until it lets go or ends.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from edgeyolo.errors import EdgeYoloError

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)  # some network file systems


@contextmanager
def locked(
    path: Path, *, wait_s: float = 3600.0, waiting: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold the lock file `path`, alone among processes and threads, for the block.

    The file stays.

    Waits up to `wait_s` seconds for another holder, and calls `waiting` once before it does. On a file system
    without locks it holds nothing. Raises EdgeYoloError when the time is over, OSError where it cannot write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    told = False
    while (handle := hold(path)) is None:
        if time.monotonic() >= deadline:
            hint = "Wait for the other process to end, or end it, and try again."
            raise EdgeYoloError(f"another process still holds {path} after {wait_s:g} s", hint=hint)
        if waiting and not told:
            waiting()
            told = True
        time.sleep(0.05)
    try:
        yield
    finally:
        release(handle)


def hold(path: Path, *, create: bool = True) -> IO[bytes] | None:
    """Lock the file and return its handle.

    None where another holds it or has just removed it.

    Where the file system knows no locks, a file that may be created counts as held by the caller, one that
    must exist as held by another. Close the handle with `release`.
    """
    try:
        handle = path.open("ab" if create else "r+b")
    except FileNotFoundError:
        if create:
            raise
        return None
    try:
        if _lock(handle, unsupported=create) and os.path.samestat(os.fstat(handle.fileno()), path.stat()):
            return handle
    except FileNotFoundError:  # removed between opening and locking: this handle locks nothing
        handle.close()
        return None
    except BaseException:
        handle.close()
        raise
    handle.close()
    return None


def release(handle: IO[bytes]) -> None:
    """Drop the lock; doing it twice does nothing."""
    if handle.closed:
        return
    try:
        if sys.platform != "win32":
            import fcntl

            # Closing is not enough while a forked child has the same handle.
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        handle.close()


def _lock(handle: IO[bytes], *, unsupported: bool) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return unsupported
        raise
    return True
