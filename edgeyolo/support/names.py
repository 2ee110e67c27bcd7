"""Names that people write: found exactly, else in another spelling, if only one."""

from __future__ import annotations

from collections.abc import Sequence


def match_names(wanted: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """For each name its index in `known`, or None.

    A name is the one that is written the same. Only where there is none, and only where one name on either side is
    left that reads the same without regard to case, "_", "-" and blanks, it is that one.
    """
    exact = {name: index for index, name in reversed(list(enumerate(known)))}
    taken = set(exact) & set(wanted)
    ours, theirs = _by_spelling(known, taken), _by_spelling(wanted, taken)
    found: list[int | None] = []
    for name in wanted:
        alike = ours.get(_plain(name), []) if name not in exact and len(theirs[_plain(name)]) == 1 else []
        found.append(exact.get(name, exact[alike[0]] if len(alike) == 1 else None))
    return found


def find_alike(name: str, known: Sequence[str]) -> list[int]:
    """Indices of the names written as `name`; else of all that read the same."""
    exact = [index for index, other in enumerate(known) if other == name]
    return exact or [index for index, other in enumerate(known) if _plain(other) == _plain(name)]


def _by_spelling(names: Sequence[str], taken: set[str]) -> dict[str, list[str]]:
    spellings: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        if name not in taken:
            spellings.setdefault(_plain(name), []).append(name)
    return spellings


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
