"""Pickles that do not parse, or that would use up time or memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeyolo.errors import DamagedFileError
from edgeyolo.models.checkpoint import open_checkpoint

Forge = Callable[..., Path]
Refuse = Callable[..., str]

DAMAGED: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("no STOP", b"\x80\x02}"),
    ("nothing before STOP", b"\x80\x02."),
    ("two values", b"\x80\x02NN."),
    ("an open mark", b"\x80\x02N(."),
    ("pop of nothing", b"\x80\x02\x86."),
    ("no mark", b"\x80\x02Nt."),
    ("below the mark", b"\x80\x02N(\x85t."),
    ("memo before its time", b"\x80\x02h\x05."),
    ("key without value", b"\x80\x02}(Nu."),
    ("memo of nothing", b"\x80\x02q\x00."),
    ("unknown opcode", b"\x80\x02\xff."),
    ("newer protocol", b"\x80\x06N."),
    ("text longer than the file", b"\x80\x02X\xff\xff\xff\x7fa."),
    ("text of 2**60 bytes", b"\x80\x04\x8d\x00\x00\x00\x00\x00\x00\x00\x10a."),
    ("bytes of 2**60 bytes", b"\x80\x04\x8e\x00\x00\x00\x00\x00\x00\x00\x10a."),
    ("text that is no UTF-8", b"\x80\x02X\x01\x00\x00\x00\xff."),
    ("name without an end", b"\x80\x02cos"),
]


@pytest.mark.parametrize("pickled", [row[1] for row in DAMAGED], ids=[row[0] for row in DAMAGED])
def test_damaged_pickles(pickled: bytes, forge: Forge, refuse: Refuse) -> None:
    assert "data.pkl" in refuse(forge(pickled), DamagedFileError)


def doubling(levels: int) -> bytes:
    """A list of the list before it, twice: 2 ** levels values in a few bytes each."""
    return b"\x80\x02(]q\x00" + b"](h\x00h\x00eq\x00" * levels + b"t."


BOMBS: list[tuple[str, bytes, str, dict[str, int]]] = [
    ("shared lists, doubled 60 times", doubling(60), "expand to more", {}),
    ("nested lists", b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".", "nested deeper", {}),
    (
        "nested from the inside",
        b"\x80\x02(]q\x00" + b"]h\x00aq\x00" * 20_000 + b"t.",
        "nested deeper",
        {},
    ),
    ("nested tuples", b"\x80\x02N" + b"\x85" * 50_000 + b".", "nested deeper", {}),
    ("nested marks", b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".", "nested deeper", {}),
    ("a list that contains itself", b"\x80\x02]q\x00h\x00a.", "contains itself", {}),
    ("a dict that contains itself", b"\x80\x02}q\x00(X\x01\x00\x00\x00ah\x00u.", "contains itself", {}),
    ("two lists that contain each other", b"\x80\x02]q\x00]h\x00aa.", "contains itself", {}),
    ("stack", b"\x80\x02(" + b"N" * 200_000 + b"t.", "values at once", {}),
    ("operations", b"\x80\x02(" + b"N" * 2_000 + b"t.", "pickle operations", {"operations": 1_000}),
    ("memo", b"\x80\x04N" + b"\x94" * 2_000 + b".", "pickle operations", {"operations": 1_000}),
    ("long text", b"\x80\x02X\x88\x13\x00\x00" + b"a" * 5_000 + b".", "text of 5,000", {"text_bytes": 4_000}),
    ("large pickle", b"\x80\x02X\x88\x13\x00\x00" + b"a" * 5_000 + b".", "data.pkl", {"pickle_bytes": 4_000}),
    ("huge integer", b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".", "integer of", {}),
    ("huge integer, long form", b"\x80\x02\x8b\x00\x00\x10\x00" + b"\x7f" * (1 << 20) + b".", "LONG4", {}),
]


@pytest.mark.parametrize(
    ("pickled", "named", "limits"), [row[1:] for row in BOMBS], ids=[row[0] for row in BOMBS]
)
def test_bombs(pickled: bytes, named: str, limits: dict[str, int], forge: Forge, refuse: Refuse) -> None:
    assert named in refuse(forge(pickled), **limits)


def test_the_shared_lists_are_fine_in_moderation(forge: Forge) -> None:
    with open_checkpoint(forge(doubling(10))) as checkpoint:
        assert len(checkpoint.root) == 11
        assert checkpoint.root[-1] == [checkpoint.root[-2], checkpoint.root[-2]]
