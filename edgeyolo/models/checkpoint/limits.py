"""Limits of a checkpoint.

They are several times what the largest real one needs (yolov7-e6e).
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Upper bounds that keep a hostile file from using up memory or time.

    `values` counts the object graph written out as a tree, so that a small file of shared references that
    expand without end is refused; `depth` is the longest chain of containers.
    """

    file_bytes: int = 8192 * MIB
    entries: int = 50_000  # in the zip directory
    pickle_bytes: int = 64 * MIB
    operations: int = 2_000_000  # pickle opcodes
    text_bytes: int = 16 * MIB  # one string or bytes value
    stack: int = 100_000
    marks: int = 200  # open lists, tuples and dicts at once
    depth: int = 100
    values: int = 2_000_000
    modules: int = 20_000  # of one network
    dimensions: int = 8  # of one tensor
