"""The value stack of a pickle.

Values, and marks that say where an unfinished container starts.
"""

from __future__ import annotations

from typing import Any

from edgeyolo.models.checkpoint.constructors import RefusedCallError
from edgeyolo.models.checkpoint.limits import Limits


class ValueStack:
    """Stack of a pickle's values.

    Raises ValueError where a stream takes values that are not there, RefusedCallError beyond the limits.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._values: list[Any] = []
        self._marks: list[int] = []

    def push(self, value: Any) -> None:
        """Put a value on top."""
        if len(self._values) >= self._limits.stack:
            raise RefusedCallError(f"more than {self._limits.stack:,} values at once")
        self._values.append(value)

    def pop(self, count: int) -> tuple[Any, ...]:
        """Take the `count` topmost values above the last mark, the lowest first."""
        if len(self._values) - count < self._floor():
            raise ValueError("an operation finds fewer values than it takes")
        values = tuple(self._values[-count:])
        del self._values[-count:]
        return values

    def top(self) -> Any:
        """The topmost value, which stays."""
        if len(self._values) <= self._floor():
            raise ValueError("an operation finds nothing to work on")
        return self._values[-1]

    def mark(self) -> None:
        """Remember where a container starts."""
        if len(self._marks) >= self._limits.marks:
            raise RefusedCallError(f"containers nested deeper than {self._limits.marks}")
        self._marks.append(len(self._values))

    def pop_to_mark(self) -> list[Any]:
        """Take everything above the last mark, and the mark."""
        if not self._marks:
            raise ValueError("an operation finds no mark")
        start = self._marks.pop()
        values = self._values[start:]
        del self._values[start:]
        return values

    def result(self) -> Any:
        """The one value that a finished stream leaves."""
        if len(self._values) != 1 or self._marks:
            raise ValueError(f"it ends with {len(self._values)} values, expected one")
        return self._values[0]

    def _floor(self) -> int:
        return self._marks[-1] if self._marks else 0
