"""Refusals of the operating system, in sentences.

A full disk, a read-only place, a missing folder.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from edgeyolo.errors import EdgeYoloError

_FULL = "Free some space there, or choose another place."
_CLOSED = "Choose a place that may be written, or change its permissions."
# What the system says -> what to do about it.
_HINTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: _CLOSED,
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.ENOENT: "Look whether the folder is still there.",
    errno.ENOTDIR: "A part of the path is a file: choose another place.",
    errno.EEXIST: "Choose another name.",
    errno.EISDIR: "Choose another name.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ELOOP: "A link leads back to itself: choose another place.",
    errno.EIO: "The disk, or the connection to it, fails: look at the system's log.",
    errno.ESTALE: "The network file system has lost the file: try again.",
    errno.EMFILE: "Raise the limit of open files: ulimit -n 4096",
    errno.ENFILE: "Close other programs: the system has no file handles left.",
    errno.ENOMEM: "Close other programs, or use a smaller --imgsz or --batch.",
    errno.EAGAIN: "The system starts no more processes or threads: close other programs.",
}
SYSTEM_HINTS = frozenset(_HINTS.values())
"""Hints for errors of the system."""

# Libraries with code of their own (safetensors, torch, OpenVINO) put the system's words into their errors.
_WORDS = {os.strerror(number).lower(): number for number in (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE,
)}  # fmt: skip


def explain_system_error(error: BaseException, place: str | Path | None = None) -> EdgeYoloError | None:
    """The sentence for an error that is the system's fault.

    None for any other.

    `place` is what was being written; by default the file that the error names. Errors that a library made of the
    system's are known by their words, and by what they were raised from.
    """
    if isinstance(error, MemoryError):
        return EdgeYoloError("there is not enough memory", hint=_HINTS[errno.ENOMEM])
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno in _HINTS:
            return _sentence(each.errno, place or each.filename, each.strerror)
        text = str(each).lower()
        found = next((number for words, number in _WORDS.items() if words in text), None)
        if found is not None:
            return _sentence(found, place, os.strerror(found))
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, each once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _sentence(number: int, place: object, words: str | None) -> EdgeYoloError:
    reason = words or os.strerror(number)
    if place is None:
        try:
            Path.cwd()
        except OSError:
            return EdgeYoloError(
                "the current directory is no longer there", hint="Change into another one: cd"
            )
    name = os.fsdecode(place) if isinstance(place, str | bytes | Path) else None
    return EdgeYoloError(f"{name}: {reason}" if name else reason, hint=_HINTS[number])
