"""Choices for a runtime's own quantizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Preset = Literal["mixed", "performance"]


@dataclass(frozen=True)
class QuantizerOptions:
    """Options of NNCF, OpenVINO's quantizer.

    Others have nothing to choose.

    preset: "mixed" gives activations a zero point where their activation function asks for it, "performance" none.
    floats: layers that stay in float, as names or beginnings of names in the network ("top_down", "backbone.3.elan").
    accuracy_aware: put layers back into float, those that cost most first, until no more AP is lost than allowed.
    """

    preset: Preset = "mixed"
    floats: tuple[str, ...] = ()
    accuracy_aware: bool = False


DEFAULTS = QuantizerOptions()
