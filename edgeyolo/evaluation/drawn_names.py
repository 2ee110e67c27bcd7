"""Class names as matplotlib can draw them, whatever they are written in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

_FAMILY = "DejaVu Sans"  # comes with matplotlib


@contextmanager
def drawable(names: Sequence[str] = ()) -> Iterator[list[str]]:
    """Have matplotlib draw text as it is written, and yield the names to draw.

    Dollars are no mathematics. For characters that matplotlib's own font does not have, fonts of this machine that
    have them are used; a name that none of them can draw becomes "class 3". Needs matplotlib.
    """
    import matplotlib

    families, missing = _families(frozenset("".join(names)))
    with matplotlib.rc_context({"text.parse_math": False, "font.family": families}):
        yield [_drawn(name, index, missing) for index, name in enumerate(names)]


def _drawn(name: str, index: int, missing: frozenset[str]) -> str:
    if missing & set(name) or not name.isprintable():
        return f"class {index}"
    return f" {name}" if name.startswith("_") else name  # legends leave out what begins with _


def _families(characters: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Font families that have the characters, and the characters that none has."""
    from matplotlib import font_manager

    families = [_FAMILY]
    missing = characters - _has(font_of(_FAMILY))
    while missing:
        fonts = {entry.name: entry.fname for entry in reversed(font_manager.fontManager.ttflist)}
        best = max(fonts, key=lambda name: len(missing & _has(fonts[name])), default="")
        if not best or not missing & _has(fonts[best]):
            break
        families.append(best)
        missing -= _has(fonts[best])
    return families, missing


def font_of(family: str) -> str:
    """File of the font that matplotlib takes for a family."""
    from matplotlib import font_manager

    return str(font_manager.findfont(family))


@cache
def _has(file: str) -> frozenset[str]:
    """Characters of a font file; none of one that cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(file).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
