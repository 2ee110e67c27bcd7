"""EfficientNet-Lite with a path aggregation network, as data; no torch here.

The backbone is EfficientNet-Lite0's (arXiv:1905.11946; Lite: without squeeze-and-excitation), whose weights are
published under the Apache licence: a detector begun from them has twice the AP50 after an hour that one from scratch
has after six. Its activation is ReLU6 throughout: without the limit early maps reach 80, and float16 loses what lies
between.
The neck is YOLOv4-CSP's, narrow.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, get_args

from edgeyolo.errors import UsageError
from edgeyolo.models.csp_topology import Csp, CspStage, CspStep, Pan, neck_from_json
from edgeyolo.models.topology import (
    Activation,
    Anchors,
    check_anchors,
    check_between,
    check_width,
    object_of,
    spec_from_values,
)

STEM_STRIDE = 2
_MOST = {"depth": 64, "stages": 16, "expansion": 16, "imgsz": 16384}


@dataclass(frozen=True)
class InvertedStage:
    """A chain of inverted residuals (arXiv:1801.04381) of `out` channels.

    Each is a 1x1 convolution to `expansion` times the channels (none where that is 1), a depthwise one of `kernel`, and
    a 1x1 without activation; what it is given is added where shapes allow. The first has the `stride`.
    """

    out: int
    depth: int
    kernel: int
    stride: int
    expansion: int = 6

    def __post_init__(self) -> None:
        check_width("InvertedStage", self.out)
        check_between("InvertedStage.depth", self.depth, 1, _MOST["depth"])
        check_between("InvertedStage.expansion", self.expansion, 1, _MOST["expansion"])
        if self.kernel not in (3, 5, 7):
            raise UsageError(f"InvertedStage.kernel: expected 3, 5 or 7, got {self.kernel!r}")
        check_between("InvertedStage.stride", self.stride, 1, 2)

    def residuals(self, c_in: int) -> tuple[tuple[int, int], ...]:
        """Input channels and stride of each inverted residual."""
        return ((c_in, self.stride), *((self.out, 1),) * (self.depth - 1))


@dataclass(frozen=True)
class LiteSpec:
    """One network.

    It is a strided convolution to `width` channels, the stages, and a neck over the last map of each stride.
    """

    name: str
    width: int
    backbone: tuple[InvertedStage, ...]
    neck: Pan
    anchors: Anchors
    imgsz: int = 320
    act: Activation = "relu6"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise UsageError(f"LiteSpec.name: expected a name, got {self.name!r}")
        if self.act not in get_args(Activation):
            raise UsageError(f"{self.name}: activation {self.act!r} is not one of {get_args(Activation)}")
        check_width(f"{self.name}: stem", self.width)
        check_between(f"{self.name}: backbone stages", len(self.backbone), 2, _MOST["stages"])
        check_between(f"{self.name}: imgsz", self.imgsz, 1, _MOST["imgsz"])
        if not isinstance(self.neck, Pan):
            raise UsageError(f"{self.name}: expected a path aggregation network, got {self.neck!r:.60}")
        if self.levels > len(self.laterals):
            raise UsageError(f"{self.name}: the backbone has too few strides for {self.levels} levels")
        check_anchors(self.name, self.anchors, self.levels)

    @property
    def levels(self) -> int:
        """The number of detection levels."""
        return len(self.lead)

    @property
    def lead(self) -> tuple[int, ...]:
        """Channels before the outputs, finest level first."""
        return self.neck.lead

    @property
    def stem_width(self) -> int:
        """Output channels of the first convolution."""
        return self.width

    @property
    def laterals(self) -> tuple[int, ...]:
        """Places of the stages whose maps the neck is given.

        They are the last of each stride, finest first.
        """
        later = [stage.stride for stage in self.backbone[1:]]
        return tuple(place for place, stride in enumerate([*later, 2]) if stride == 2)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level, finest first."""
        coarsest = STEM_STRIDE
        for stage in self.backbone:
            coarsest *= stage.stride
        return tuple(coarsest >> (self.levels - 1 - level) for level in range(self.levels))

    def to_json(self) -> dict[str, Any]:
        """The spec as plain values for a JSON file."""
        return {"topology": "lite", **asdict(self)}

    @classmethod
    def from_json(cls, data: Any, where: str = "network spec") -> LiteSpec:
        """Rebuild a spec.

        Raises DamagedFileError, beginning with `where`, on anything that is not one.
        """
        return spec_from_values(
            cls,
            data,
            where,
            backbone=lambda stages: tuple(InvertedStage(**object_of(InvertedStage, item)) for item in stages),
            neck=neck_from_json,
        )


def make_lite(anchors: Anchors) -> LiteSpec:
    """EfficientNet-Lite0 with a neck of three levels.

    It is the network that comes with the package.
    """

    def block(out: int) -> Csp:
        return Csp(out, 1, "late", shortcut=False)

    return LiteSpec(
        "efficientnet-lite0-pan",
        width=32,
        backbone=(
            InvertedStage(16, 1, kernel=3, stride=1, expansion=1),
            InvertedStage(24, 2, kernel=3, stride=2),
            InvertedStage(40, 2, kernel=5, stride=2),
            InvertedStage(80, 3, kernel=3, stride=2),
            InvertedStage(112, 3, kernel=5, stride=1),
            InvertedStage(192, 4, kernel=5, stride=2),
            InvertedStage(320, 1, kernel=3, stride=1),
        ),
        neck=Pan(
            160,
            top_down=(CspStep(96, block(96)), CspStep(48, block(48))),
            bottom_up=(CspStage("conv", 96, block(96)), CspStage("conv", 160, block(160))),
            lead=(96, 192, 320),
        ),
        anchors=anchors,
    )
