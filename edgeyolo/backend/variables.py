"""EDGEYOLO_ variables that backends read, and those that nothing reads."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgeyolo.support.environment import VARIABLES, set_here

if TYPE_CHECKING:
    from edgeyolo.backend.interface import Backend


class UnknownVariableWarning(UserWarning):
    """A variable that begins with EDGEYOLO_ and that nothing reads.

    A slip of the keyboard, most likely.
    """


def known() -> dict[str, str]:
    """Every variable and what it says: the table above, and what the backends add."""
    from edgeyolo.backend import registry

    added: dict[str, str] = {}
    for backend in registry.backends().values():
        added |= getattr(backend, "variables", {})
    return {**VARIABLES, **dict(sorted(added.items()))}


def is_hinted(backend: Backend, environment: Mapping[str, str] = os.environ) -> bool:
    """Return True if a variable of this backend says what its sessions are made for.

    Such variables end in _HINT.
    """
    names = getattr(backend, "variables", {})
    return any(name.endswith("_HINT") and environment.get(name, "").strip() for name in names)


def complaints(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Sentences about variables that are set and that nothing reads.

    Each has the one that may have been meant.
    """
    strange = [name for name in set_here(environment) if name not in VARIABLES]
    if not strange:  # the usual case costs no loading of backends
        return []
    import difflib

    names = known()
    found = []
    for name in strange:
        if name in names:
            continue
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
        meant = f"did you mean {near[0]}?" if near else "`edgeyolo doctor --variables` lists those that are."
        found.append(f"the environment variable {name} is not one that edgeyolo reads; {meant}")
    return found


def warn() -> None:
    """Warn, once for each place that calls, of variables that nothing reads."""
    for text in complaints():
        warnings.warn(text, UnknownVariableWarning, stacklevel=3)
