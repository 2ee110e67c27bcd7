"""Names that somebody who typed another one may have meant."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], *, count: int = 3, cutoff: float = 0.6) -> list[str]:
    """The names that are nearest to a word, best first.

    Names that begin with it, the shortest first, or hold it as one of their parts, come before those that are spelled
    alike; otherwise they keep their order.
    """
    import difflib  # imported here: without mistakes nobody asks

    names, wanted = list(dict.fromkeys(known)), word.casefold()
    if not wanted:
        return []
    begun = sorted((name for name in names if name.casefold().startswith(wanted)), key=len)
    parts = [name for name in names if wanted in name.casefold().replace("_", "-").split("-")]
    alike = difflib.get_close_matches(wanted, [name.casefold() for name in names], n=count, cutoff=cutoff)
    spelled = [name for close in alike for name in names if name.casefold() == close]
    return list(dict.fromkeys([*begun, *parts, *spelled]))[:count]
