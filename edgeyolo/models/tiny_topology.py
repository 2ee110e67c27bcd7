"""YOLOv4-tiny as data, and its convolutions; no torch here.

The network is that of darknet's published configuration (arXiv:2011.08036, section 4): two strided convolutions,
three partial blocks with pools behind them, and a feature pyramid of two or three levels. What darknet does with
its outputs is not: they are decoded as those of every network here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, get_args

from edgeyolo.errors import UsageError
from edgeyolo.models.conv_layer import ConvLayer, Walk
from edgeyolo.models.topology import (
    Activation,
    Anchors,
    check_anchors,
    check_between,
    check_width,
    spec_from_values,
)

BLOCKS = 3
COARSEST = 32


@dataclass(frozen=True)
class TinySpec:
    """One network.

    Its levels are those of its anchors, and all its widths are multiples of `width`.
    """

    name: str
    anchors: Anchors
    width: int = 32
    imgsz: int = 416  # the side of the square images the paper reports the network at
    act: Activation = "leaky_relu"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise UsageError(f"TinySpec.name: expected a name, got {self.name!r}")
        if self.act not in get_args(Activation):
            raise UsageError(f"{self.name}: activation {self.act!r} is not one of {get_args(Activation)}")
        check_width(f"{self.name}: stem", self.width, 16 * self.width if isinstance(self.width, int) else 0)
        check_between(f"{self.name}: imgsz", self.imgsz, 1, 16384)
        check_between(f"{self.name}: levels", len(self.anchors), 2, 3)
        check_anchors(self.name, self.anchors, self.levels)

    @property
    def levels(self) -> int:
        """The number of detection levels."""
        return len(self.anchors)

    @property
    def lead(self) -> tuple[int, ...]:
        """Channels before the outputs, finest level first."""
        return tuple(16 * self.width >> (self.levels - 1 - level) for level in range(self.levels))

    @property
    def stem_width(self) -> int:
        """Output channels of the first convolution."""
        return self.width

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level, finest first."""
        return tuple(COARSEST >> (self.levels - 1 - level) for level in range(self.levels))

    def to_json(self) -> dict[str, Any]:
        """The spec as plain values for a JSON file."""
        return {"topology": "tiny", **asdict(self)}

    @classmethod
    def from_json(cls, data: Any, where: str = "network spec") -> TinySpec:
        """Rebuild a spec.

        Raises DamagedFileError, beginning with `where`, on anything that is not one.
        """
        return spec_from_values(cls, data, where)


@dataclass(frozen=True)
class TinyWalk(Walk):
    """Walk through a network as `TinyNetwork.__init__` builds it."""

    spec: TinySpec
    classes: int

    def layers(self) -> Iterator[ConvLayer]:
        """Every convolution, in the order of registration."""
        w = self.spec.width
        yield self.conv("stem.0", 3, w, 1, kernel=3, after=2)
        yield self.conv("stem.1", w, 2 * w, 2, kernel=3, after=4)
        for place in range(BLOCKS):
            name, c, stride = f"blocks.{place}", 2 * w << place, 4 << place
            yield self.conv(f"{name}.enter", c, c, stride, kernel=3)
            yield self.conv(f"{name}.first", c // 2, c // 2, stride, kernel=3)
            yield self.conv(f"{name}.second", c // 2, c // 2, stride, kernel=3)
            yield self.conv(f"{name}.mix", c, c, stride)
        yield self.conv("last", 16 * w, 16 * w, COARSEST, kernel=3)
        yield self.conv("narrow", 16 * w, 8 * w, COARSEST)
        yield self.conv("coarsest", 8 * w, 16 * w, COARSEST, kernel=3)
        for place in range(self.spec.levels - 1):
            reduced, lateral, stride = 4 * w >> place, 8 * w >> place, COARSEST >> place
            yield self.conv(f"steps.{place}.reduce", 8 * w, reduced, stride)
            yield self.conv(f"steps.{place}.lead", reduced + lateral, lateral, stride // 2, kernel=3)
        channels = len(self.spec.anchors[0]) * (5 + self.classes)
        for place, (c, own) in enumerate(zip(self.spec.lead, self.spec.strides, strict=True)):
            yield self.conv(f"outputs.{place}", c, channels, own)
