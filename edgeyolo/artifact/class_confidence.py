"""Default confidence of each class, where a network's own is better than 0.25.

It is part of the account of the weights (provenance), so that every artifact made from them has it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeyolo.errors import DamagedFileError

CLASS_CONFIDENCE = "class_confidence"  # the key in a provenance: class name to confidence, 0..1


def class_confidence(
    provenance: Mapping[str, Any], class_names: Sequence[str], where: str = "provenance"
) -> tuple[float, ...] | None:
    """Default confidence by class id, 0..1.

    None where the network has none of its own. Raises DamagedFileError for anything but one number from 0 to 1 for
    each class.
    """
    given = provenance.get(CLASS_CONFIDENCE)
    if given is None:
        return None
    if not isinstance(given, Mapping) or set(given) != set(class_names):
        raise DamagedFileError(f"{where}: {CLASS_CONFIDENCE}: expected a confidence for each class")
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise DamagedFileError(
                f"{where}: {CLASS_CONFIDENCE}: expected a number from 0 to 1 for {name}, got {str(value)[:60]}"
            )
    return tuple(float(given[name]) for name in class_names)
