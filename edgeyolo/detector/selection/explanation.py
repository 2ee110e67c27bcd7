"""Reasons for the choice of a target, as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Considered:
    """One target: whether it could be taken and, if not, why.

    `milliseconds` is the median of one image where it was measured on this machine, None where it was not. `unwanted`:
    it may well be usable, and is not for choosing unasked.
    """

    target: str
    usable: bool
    reason: str = ""
    milliseconds: float | None = None
    unwanted: bool = False

    def sentence(self) -> str:
        """`cpu-openvino-fp32: 34.1 ms an image`."""
        if not self.usable:
            return f"{self.target}: {'not chosen' if self.unwanted else 'not usable'}: {self.reason}"
        measured = "" if self.milliseconds is None else f"{self.milliseconds:.1f} ms an image, measured here"
        return f"{self.target}: {'; '.join(part for part in (measured, self.reason) if part) or 'usable'}"


@dataclass(frozen=True)
class Explanation:
    """Explanation of a model's target, device and artifact.

    `decided` is one sentence. `considered` holds every target that was looked at, best first, those that cannot be
    used last. `str()` gives all as lines.
    """

    model: str
    target: str
    device: str
    decided: str
    considered: tuple[Considered, ...] = ()

    def __str__(self) -> str:
        return "\n".join([f"{self.model} runs on {self.target}: {self.decided}", *self.sentences()])

    def sentences(self) -> list[str]:
        """A line for each target that was considered."""
        return [item.sentence() for item in self.considered]

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)
