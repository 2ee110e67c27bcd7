"""The space of a search: ranges of a recipe's hyper-parameters."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from typing import Any

from edgeyolo.errors import UsageError
from edgeyolo.training.recipe import Recipe, change


@dataclass(frozen=True)
class Range:
    """Values of one hyper-parameter, from `low` to `high`.

    log: tried evenly by their logarithm. whole: integers only.
    """

    name: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    def clip(self, value: float) -> float:
        """The value of the range that is nearest."""
        return min(max(value, self.low), self.high)


# What is searched where nothing is named. Rates and gains: from a part of the recipe's own to a multiple of it.
_AROUND = {"lr0": 5.0, "weight_decay": 5.0, "box": 3.0, "obj": 3.0, "cls": 3.0}
_BETWEEN = {
    "lrf": (0.005, 0.5), "momentum": (0.8, 0.98), "hsv_h": (0.0, 0.1), "hsv_s": (0.0, 0.9), "hsv_v": (0.0, 0.9),
    "translate": (0.0, 0.5), "scale": (0.0, 0.9), "mosaic": (0.0, 1.0), "mixup": (0.0, 0.5),
}  # fmt: skip
_LOG = ("lrf",)
_DECADES = 100.0  # a range of a positive value that spans as much is tried by the logarithm


def usual_space(
    recipe: Recipe, *, fixed: Collection[str] = (), classes: int, rect: bool
) -> tuple[Range, ...]:
    """Ranges around a recipe, which lies in all of them.

    Without `fixed` fields, those that are off in the recipe as a factor (0), and those without effect: the class gain
    for one class, mosaics for rectangular batches (`rect`).
    """
    idle = {*fixed, *(("cls",) if classes == 1 else ()), *(("mosaic", "mixup") if rect else ())}
    return tuple(
        found
        for name in (*_AROUND, *_BETWEEN)
        if name not in idle and (found := _usual(recipe, name)) is not None
    )


def read_space(recipe: Recipe, given: Iterable[str]) -> tuple[Range, ...]:
    """Ranges from words such as "lr0" (its usual range) and "box=0.02:0.2".

    UsageError for what is no number of a recipe, lies outside of what it may be, or is named twice.
    """
    found: dict[str, Range] = {}
    for word in given:
        name, equals, ends = word.partition("=")
        _require_number(recipe, name)
        made = _between(name, recipe, ends, word) if equals else _usual(recipe, name)
        if made is None:
            raise UsageError(f"space {word!r}: {name} has no usual range", hint=f"Give one: {name}=LOW:HIGH.")
        if name in found:
            raise UsageError(f"space: {name} is named twice")
        found[name] = made
    return tuple(found.values())


def _usual(recipe: Recipe, name: str) -> Range | None:
    """The usual range of a field; None where it has none."""
    value = float(getattr(recipe, name))
    if name in _AROUND:
        if not value:
            return None
        low, high, log = value / _AROUND[name], value * _AROUND[name], True
    elif name in _BETWEEN:
        low, high = _BETWEEN[name]
        low, high, log = min(low, value), max(high, value), name in _LOG and value > 0
    else:
        return None
    least, most = _limits(name)
    return Range(name, max(low, least), min(high, most), log)


def _between(name: str, recipe: Recipe, ends: str, word: str) -> Range:
    try:
        low, high = (float(end) for end in ends.split(":"))
    except ValueError:
        raise UsageError(
            f"space {word!r}: expected NAME=LOW:HIGH with two numbers", hint="For example: box=0.02:0.2"
        ) from None
    if not low < high:
        raise UsageError(f"space {word!r}: expected the lower end first, and two that differ")
    for end in (low, high):
        change(recipe, {name: end})  # outside of what a recipe may hold: a UsageError that says so
    whole = isinstance(getattr(Recipe(), name), int)
    return Range(name, low, high, log=low > 0 and high / low >= _DECADES, whole=whole)


def _require_number(recipe: Recipe, name: str) -> None:
    """UsageError for a name that is none of a recipe's numbers."""
    if name not in {item.name for item in fields(Recipe)}:
        change(recipe, {name: 0})  # raises, and says what was meant
    value = getattr(recipe, name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"space: {name} is not a number, so it has no range", hint="Use --set for it.")


def _limits(name: str) -> tuple[float, float]:
    found: dict[str, Any] = {item.name: item.metadata.get("range") for item in fields(Recipe)}
    return found[name] or (-math.inf, math.inf)
