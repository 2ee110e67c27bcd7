"""Values of annotation files, parsed: numbers, flags, identifiers of any type."""

from __future__ import annotations

import math
from typing import Any

_YES = frozenset(("1", "true", "yes"))
_NO = frozenset(("", "0", "false", "no", "none", "null", "unspecified"))
EXACT = 1 << 53
"""Whole numbers below this are the same in every program that reads JSON."""


def parse_number(value: Any) -> float:
    """A number, also one written as text. ValueError for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{shortened(value)} is no number")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{shortened(value)} is no number") from None


def flag(value: Any, what: str) -> bool:
    """Parse 0 or 1, true or false: a number, text, or not there at all.

    ValueError for anything else.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = "" if value is None else str(value).strip().lower()
    if isinstance(value, bool | int | str | None) and text in _YES | _NO:
        return text in _YES
    raise ValueError(f"{what} is {shortened(value)}, expected 0 or 1")


def identifier(value: Any) -> str:
    """Text by which an id is found again: 7, 7.0 and "7" are one.

    ValueError for what is no id.
    """
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError(f"{shortened(value)} is no id: expected a number or text")
    return str(value).strip()


def plain_id(value: Any) -> int | str:
    """An id as it is written to files: a number stays one.

    ValueError for what is no id.
    """
    return value if isinstance(value, str) and identifier(value) else int(identifier(value))


def pixel_size(width: Any, height: Any) -> tuple[int, int] | None:
    """(width, height) in pixels from numbers or text; None where they are no size."""
    try:
        sides = parse_number(width), parse_number(height)
    except ValueError:
        return None
    if not all(math.isfinite(side) and side.is_integer() and 0 < side < EXACT for side in sides):
        return None
    return int(sides[0]), int(sides[1])


def shortened(value: Any, limit: int = 100) -> str:
    """A value as messages show it: on one line, and not longer than `limit`."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits; lists within lists
        return f"a {type(value).__name__} too large to print"
    return text if len(text) <= limit else text[: limit - 3] + "..."
