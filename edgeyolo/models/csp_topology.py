"""The parts of the paper's baselines, as data: no torch here.

YOLOv4-CSP, YOLOR and the CSP ResNets are a stem, a backbone of stages (halve the resolution, then a cross-stage
partial block), and a neck: a path aggregation network (`Pan`) of the same blocks. YOLOv3 has plain residual
blocks and a feature pyramid (`Fpn`). Widths are output channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from edgeyolo.errors import UsageError
from edgeyolo.models.topology import (
    Activation,
    Anchors,
    check_anchors,
    check_between,
    check_width,
    object_of,
    spec_from_values,
)

Split = Literal["none", "half", "late", "half-closed"]
Cell = Literal["dark", "res", "resx", "rep-dark", "reversed-dark", "rep-reversed-dark"]
Stem = Literal["dark", "focus", "pooled"]
Halving = Literal["none", "conv", "downc"]
CARDINALITY = 32  # groups of the 3x3 convolution in a "resx" cell

_MOST = {"depth": 64, "stages": 8, "imgsz": 16384}


@dataclass(frozen=True)
class Csp:
    """A cross-stage partial block (arXiv:1911.11929).

    It has a chain of cells on one part of the channels. `split`: "none" the chain alone; "half" (CSPA) chain and
    bypass each get their own 1x1 convolution to half of `out`; "half-closed" (CSPC) the same with one more 1x1
    convolution behind the chain; "late" (CSPB) both start from one 1x1 convolution to `out`. A 1x1 convolution
    over both ends the block. `cell`: "dark" a 1x1 and a 3x3 convolution; "res" a bottleneck of half the width;
    "resx" one whose 3x3 convolution has 32 groups; "reversed-dark" (YOLOv7, Figure 7) the 3x3 before the 1x1; "rep-..."
    with a RepConv in the place of the 3x3, identity branch included (its Table 5). `shortcut`: what a cell is given is
    added to what it gives.
    """

    out: int
    depth: int
    split: Split
    cell: Cell = "dark"
    shortcut: bool = True

    def __post_init__(self) -> None:
        check_width("Csp", self.out)
        check_between("Csp.depth", self.depth, 1, _MOST["depth"])
        _check_choice("Csp.split", self.split, Split)
        _check_choice("Csp.cell", self.cell, Cell)
        _check_flag("Csp.shortcut", self.shortcut)
        if self.split != "none" and self.out % 2:
            raise UsageError(f"Csp.out must be even, got {self.out}")
        if self.cell == "resx" and self.width % CARDINALITY:
            raise UsageError(f"Csp: {self.width} channels are no multiple of {CARDINALITY} groups")

    @property
    def width(self) -> int:
        """Channels of the chain."""
        return self.out // 2 if self.split in ("half", "half-closed") else self.out

    @property
    def inner(self) -> int:
        """Channels inside a cell."""
        halved = self.cell == "res" or self.split == "none"
        return self.width // 2 if halved else self.width

    @property
    def cell_convs(self) -> tuple[tuple[int, int, int], ...]:
        """Kernel size, input and output channels of a cell's convolutions."""
        c, inner = self.width, self.inner
        if not self.cell.endswith("dark"):
            return (1, c, inner), (3, inner, inner), (1, inner, c)
        return ((3, c, inner), (1, inner, c)) if "reversed" in self.cell else ((1, c, inner), (3, inner, c))


@dataclass(frozen=True)
class CspStage:
    """Halve the resolution to `channels`, then a block.

    `down` "none" keeps the resolution and the channels.
    """

    down: Halving
    channels: int
    block: Csp

    def __post_init__(self) -> None:
        _check_choice("CspStage.down", self.down, Halving)
        check_width("CspStage", self.channels)


@dataclass(frozen=True)
class CspStep:
    """One step to a finer map.

    Reduce to `channels`, enlarge, concatenate with the lateral, then a block.
    """

    channels: int
    block: Csp

    def __post_init__(self) -> None:
        check_width("CspStep", self.channels)


@dataclass(frozen=True)
class Pan:
    """A path aggregation network.

    SPPCSPC to `spp` channels, steps down to finer maps, stages back up; `lead` convolutions before the outputs.
    """

    spp: int
    top_down: tuple[CspStep, ...]
    bottom_up: tuple[CspStage, ...]
    lead: tuple[int, ...]

    def __post_init__(self) -> None:
        check_width("Pan", self.spp, *self.lead)
        steps = len(self.top_down)
        if not 1 <= steps <= _MOST["stages"] or len(self.bottom_up) != steps or len(self.lead) != steps + 1:
            raise UsageError(
                f"Pan: {steps} steps down, {len(self.bottom_up)} up and {len(self.lead)} lead widths do not fit"
            )


@dataclass(frozen=True)
class Fpn:
    """YOLOv3's neck: five convolutions a level, coarsest first.

    They are 1x1 to `widths` and 3x3 to twice that in turn. `spp`: a spatial pyramid pooling in the place of the
    coarsest level's third convolution (YOLOv3-SPP).
    """

    widths: tuple[int, ...]
    spp: bool = False

    def __post_init__(self) -> None:
        check_between("Fpn: levels", len(self.widths), 1, _MOST["stages"])
        check_width("Fpn", *self.widths)
        _check_flag("Fpn.spp", self.spp)

    @property
    def lead(self) -> tuple[int, ...]:
        """Channels before the outputs, finest level first."""
        return tuple(2 * width for width in reversed(self.widths))


@dataclass(frozen=True)
class CspSpec:
    """One baseline.

    `width` is the stem's: the channels of its last layer, which the first stage is given. `stem`: "dark" two 3x3
    convolutions, the second of stride 2, and a residual cell; "focus" space to depth and a 3x3 convolution;
    "pooled" stride 4, a strided and a pooled branch. `implicit`: implicit knowledge on the outputs in the training
    form (YOLOR).
    """

    name: str
    stem: Stem
    width: int
    backbone: tuple[CspStage, ...]
    neck: Pan | Fpn
    anchors: Anchors
    imgsz: int = 640  # the side of the square images the paper reports the network at
    implicit: bool = True
    act: Activation = "silu"

    def __post_init__(self) -> None:
        _check_spec(self)

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
        return self.width if self.stem == "focus" else self.width // 2

    @property
    def stem_stride(self) -> int:
        """Pixels of the image per cell behind the stem."""
        return 4 if self.stem == "pooled" else 2

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level, finest first."""
        halvings = sum(stage.down != "none" for stage in self.backbone)
        coarsest = self.stem_stride << halvings
        return tuple(coarsest >> (self.levels - 1 - level) for level in range(self.levels))

    def to_json(self) -> dict[str, Any]:
        """The spec as plain values for a JSON file."""
        return {"topology": "csp", **asdict(self)}

    @classmethod
    def from_json(cls, data: Any, where: str = "network spec") -> CspSpec:
        """Rebuild a spec.

        Raises DamagedFileError, beginning with `where`, on anything that is not one.
        """
        return spec_from_values(
            cls, data, where, backbone=lambda stages: tuple(map(_stage, stages)), neck=neck_from_json
        )


def _stage(data: Any) -> CspStage:
    values = object_of(CspStage, data)
    return CspStage(values["down"], values["channels"], Csp(**object_of(Csp, values["block"])))


def _step(data: Any) -> CspStep:
    values = object_of(CspStep, data)
    return CspStep(values["channels"], Csp(**object_of(Csp, values["block"])))


def neck_from_json(data: Any) -> Pan | Fpn:
    """Rebuild a neck.

    Raises TypeError, ValueError, KeyError or UsageError on anything that is not one.
    """
    if isinstance(data, Mapping) and "widths" in data:
        values = object_of(Fpn, data)
        return Fpn(tuple(values["widths"]), values["spp"])
    values = object_of(Pan, data)
    down, up = tuple(map(_step, values["top_down"])), tuple(map(_stage, values["bottom_up"]))
    return Pan(values["spp"], down, up, tuple(values["lead"]))


def _check_choice(what: str, value: Any, choices: Any) -> None:
    if value not in get_args(choices):
        raise UsageError(f"{what}: expected one of {', '.join(get_args(choices))}, got {value!r}")


def _check_flag(what: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"{what}: expected true or false, got {value!r}")


def _check_spec(spec: CspSpec) -> None:
    """Check all that networks need.

    A neck has at least one stage less than the backbone.
    """
    if not isinstance(spec.name, str) or not spec.name:
        raise UsageError(f"CspSpec.name: expected a name, got {spec.name!r}")
    _check_choice(f"{spec.name}: stem", spec.stem, Stem)
    _check_choice(f"{spec.name}: activation", spec.act, Activation)
    _check_flag(f"{spec.name}: implicit", spec.implicit)
    check_width(f"{spec.name}: stem", spec.width, spec.stem_width)
    check_between(f"{spec.name}: imgsz", spec.imgsz, 1, _MOST["imgsz"])
    check_between(f"{spec.name}: backbone stages", len(spec.backbone), 2, _MOST["stages"])
    if not spec.levels < len(spec.backbone) + (spec.stem == "pooled"):
        raise UsageError(f"{spec.name}: {len(spec.backbone)} stages are too few for {spec.levels} levels")
    later = [*spec.backbone[1:], *(spec.neck.bottom_up if isinstance(spec.neck, Pan) else ())]
    if any(stage.down == "none" for stage in later):
        raise UsageError(f"{spec.name}: every stage but the backbone's first halves the resolution")
    check_anchors(spec.name, spec.anchors, spec.levels)
