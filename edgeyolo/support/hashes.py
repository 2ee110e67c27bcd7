"""Hashes of files.

They are apart from the writing of files: who opens an artifact compares hashes and writes nothing.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_PIECE = 1 << 16  # stays in a core's cache; a new piece of memory for each read would double the time


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file as 64 lower-case hexadecimal digits, read in pieces."""
    digest, piece = hashlib.sha256(), memoryview(bytearray(_PIECE))
    with Path(path).open("rb", buffering=0) as file:
        while read := file.readinto(piece):
            digest.update(piece[:read])
    return digest.hexdigest()
