"""The ranges that a network was trained with.

Quantization-aware training leaves them in a weights file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeyolo.errors import DamagedFileError

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class LearnedRanges:
    """Activation ranges by placement of quantizers.

    `sets["onnxruntime"]` maps each tensor to its (low, high).

    Tensors have names that do not depend on the graph's exporter: `edgeyolo_calib.onnx_graph`. `images`, `sha256` and
    `described` say what the training saw: how many images, the hash of their contents, and words.
    """

    sets: Mapping[str, Ranges]
    images: int
    sha256: str
    described: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        sets = {
            kind: {name: list(ends) for name, ends in ranges.items()} for kind, ranges in self.sets.items()
        }
        return {"sets": sets, "images": self.images, "sha256": self.sha256, "described": self.described}

    @classmethod
    def from_json(cls, text: str, where: str) -> LearnedRanges:
        """Read what `to_json` gave, as text; anything else raises DamagedFileError."""
        try:
            data = json.loads(text)
            sets = {
                str(kind): {str(name): _ends(ends) for name, ends in ranges.items()}
                for kind, ranges in data["sets"].items()
            }
            return cls(sets, int(data["images"]), str(data["sha256"]), str(data["described"]))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise DamagedFileError(
                f"{where}: broken ranges ({type(error).__name__}: {error})", hint="Copy the file again."
            ) from error


def _ends(pair: Any) -> tuple[float, float]:
    low, high = (float(end) for end in pair)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"{low} to {high} is no range")
    return low, high
