"""Specs of the family's networks, as data.

No torch here.

A network is a stem, a backbone of stages (halve the resolution, then an ELAN block), a spatial pyramid
pooling, a top-down and a bottom-up path over the backbone's maps, and one detection level per lead width.
Widths are output channels, strides are pixels of the input image per cell, anchors are (width, height) in
pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar, get_args

from edgeyolo.errors import DamagedFileError, UsageError

Down = Literal["conv", "pool", "mpconv", "downc"]
Activation = Literal["silu", "leaky_relu", "relu", "relu6"]
Form = Literal["training", "deploy", "plain"]
"""Which convolutions a network is made of.

training: batch norms, two-branched RepConv, implicit knowledge on the lead outputs, auxiliary heads.
deploy: as most checkpoints are published: as training, but with plain outputs and without auxiliary heads.
plain: re-parameterized: nothing but convolutions with bias.
"""
Tried = Literal[
    "",
    "repconv-first",
    "repconv-last",
    "repconv-all",
    "repconv-end",
    "repconv-planned",
    "whole-aux",
]
"""Variants of the paper's Tables 4 and 8 that no network of the family has; see `models.planned`."""
Anchors = tuple[tuple[tuple[float, float], ...], ...]
MAX_CLASSES = 10_000

# Far above every network of the family; they keep a forged spec in a file from filling the memory.
_LIMITS = {"width": 16384, "depth": 64, "stages": 8, "cardinality": 8, "anchors": 16, "imgsz": 16384}

# Fields of a spec and of its blocks that their JSON may lack.
_RARE: Mapping[str, Any] = {"tried": "", "inner_lateral": False}
_RARE_IN_ELAN: Mapping[str, Any] = {"groups": 1}


@dataclass(frozen=True)
class Elan:
    """An ELAN block (paper 3.1, Figure 2c).

    Two 1x1 branches of `width` and a chain of `depth` 3x3 convs.

    The chain starts from the second branch. Every `stride`-th of its outputs, newest first, is concatenated
    with the two branches; a 1x1 transition to `out` ends the block. `chain` is the chain's width where it
    differs from `width`.
    `twins=2` is E-ELAN as the published yolov7-e6e has it: two such blocks on the same input, added. `groups=2` is the
    same as Figure 2 (d) draws it: one block of cardinality 2, whose convolutions have so many times the channels in
    as many groups; what each group's convolutions gave is concatenated by group (shuffle), and the groups' outputs are
    added (merge). `models.cardinality` turns one into the other.
    """

    width: int
    out: int
    depth: int = 4
    stride: int = 2
    chain: int | None = None
    twins: int = 1
    groups: int = 1

    def __post_init__(self) -> None:
        check_between("Elan.depth", self.depth, 1, _LIMITS["depth"])
        check_between("Elan.stride", self.stride, 1, self.depth)
        check_between("Elan.twins", self.twins, 1, _LIMITS["cardinality"])
        check_between("Elan.groups", self.groups, 1, _LIMITS["cardinality"])
        for width in (self.width, self.out, self.chain_width):
            check_width("Elan", width)
            check_width("Elan (all groups)", self.groups * width)
        if self.depth % self.stride:
            raise UsageError(f"Elan: depth {self.depth} is not a multiple of stride {self.stride}")

    @property
    def chain_width(self) -> int:
        """Channels of each convolution in the chain."""
        return self.width if self.chain is None else self.chain

    @property
    def concatenated(self) -> int:
        """Channels of the concatenation of one group, which its transition takes in."""
        return 2 * self.width + self.chain_width * (self.depth // self.stride)


@dataclass(frozen=True)
class Stage:
    """Halve the resolution to `channels`, then an ELAN block.

    `down`: "conv" a 3x3 convolution of stride 2; "pool" a 2x2 max pool (keeps the channels); "mpconv" a
    strided and a pooled branch, each of `channels / 2` all through; "downc" the same, but the strided branch
    has the input's width up to its 3x3.
    """

    down: Down
    channels: int
    elan: Elan

    def __post_init__(self) -> None:
        if self.down not in get_args(Down):
            raise UsageError(f"Stage.down: expected one of {', '.join(get_args(Down))}, got {self.down!r}")
        check_width("Stage", self.channels)
        if self.channels % 2:
            raise UsageError(f"Stage.channels must be even, got {self.channels}")


@dataclass(frozen=True)
class TopDown:
    """One step to a finer map.

    Reduce to `channels`, enlarge, concatenate with the lateral, then an ELAN.
    """

    channels: int
    elan: Elan

    def __post_init__(self) -> None:
        check_width("TopDown", self.channels)


@dataclass(frozen=True)
class ModelSpec:
    """Spec of one network.

    `lead` and `aux` are the widths of the 3x3 convs before the outputs, finest first.
    """

    name: str
    stem: tuple[tuple[int, int], ...]  # (width, stride) of each 3x3 convolution
    backbone: tuple[Stage, ...]
    spp: int
    top_down: tuple[TopDown, ...]
    bottom_up: tuple[Stage, ...]
    lead: tuple[int, ...]
    anchors: Anchors
    imgsz: int = 640  # the side of the square images the paper reports the network at
    aux: tuple[int, ...] = ()
    space_to_depth: bool = False  # ReOrg before the stem: 3 channels become 12 at half the resolution
    csp_spp: bool = True  # SPPCSPC; False: tiny's shorter pyramid
    rep: bool = False  # RepConv without identity before the outputs
    act: Activation = "silu"
    tried: Tried = ""
    # The finest lateral reads the backbone block's concatenation in place of its output; see `other_names`.
    inner_lateral: bool = False

    def __post_init__(self) -> None:
        _check_spec(self)

    @property
    def levels(self) -> int:
        """The number of detection levels."""
        return len(self.lead)

    @property
    def stem_width(self) -> int:
        """Output channels of the first convolution."""
        return self.stem[0][0]

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level, finest first."""
        first = math.prod(stride for _, stride in self.stem) * (2 if self.space_to_depth else 1)
        coarsest: int = first * 2 ** len(self.backbone)
        return tuple(coarsest >> (self.levels - 1 - level) for level in range(self.levels))

    def to_json(self) -> dict[str, Any]:
        """The spec as plain values for a JSON file.

        What hardly any network has stands there only where it does.
        """
        return dict(_without(asdict(self), {**_RARE, **_RARE_IN_ELAN}))

    @classmethod
    def from_json(cls, data: Any, where: str = "network spec") -> ModelSpec:
        """Rebuild a spec.

        Raises DamagedFileError, beginning with `where`, on anything that is not one.
        """
        try:
            values = dict(object_of(cls, {**_RARE, **data} if isinstance(data, Mapping) else data))
            values["stem"] = tuple((width, stride) for width, stride in values["stem"])
            values["backbone"] = tuple(_stage(item) for item in values["backbone"])
            values["bottom_up"] = tuple(_stage(item) for item in values["bottom_up"])
            values["top_down"] = tuple(_top_down(item) for item in values["top_down"])
            values["lead"], values["aux"] = tuple(values["lead"]), tuple(values["aux"])
            values["anchors"] = tuple(tuple((w, h) for w, h in level) for level in values["anchors"])
            return cls(**values)
        except (TypeError, ValueError, KeyError) as error:
            raise DamagedFileError(f"{where}: not a network spec ({error})") from error


def object_of(kind: type[Any], data: Any) -> Mapping[str, Any]:
    """The values of a dataclass from a JSON object with exactly its fields.

    TypeError where it has others.
    """
    expected = {field.name for field in fields(kind)}
    if not isinstance(data, Mapping) or set(data) != expected:
        found = sorted(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
        raise TypeError(f"{kind.__name__} takes {sorted(expected)}, found {found}")
    return data


_S = TypeVar("_S")


def spec_from_values(kind: type[_S], data: Any, where: str, **parts: Callable[[Any], Any]) -> _S:
    """Rebuild a spec that `to_json` wrote with its topology.

    `parts` rebuild fields of other types.

    Raises DamagedFileError, beginning with `where`, on anything that is not one.
    """
    try:
        plain = {key: value for key, value in data.items() if key != "topology"}
        values = dict(object_of(kind, plain))
        for name, rebuild in parts.items():
            values[name] = rebuild(values[name])
        values["anchors"] = tuple(tuple((w, h) for w, h in level) for level in values["anchors"])
        return kind(**values)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise DamagedFileError(f"{where}: not a network spec ({error})") from error


def _stage(data: Any) -> Stage:
    values = object_of(Stage, data)
    return Stage(values["down"], values["channels"], _elan(values["elan"]))


def _top_down(data: Any) -> TopDown:
    values = object_of(TopDown, data)
    return TopDown(values["channels"], _elan(values["elan"]))


def _elan(data: Any) -> Elan:
    return Elan(**object_of(Elan, {**_RARE_IN_ELAN, **data} if isinstance(data, Mapping) else data))


def _without(value: Any, rare: Mapping[str, Any]) -> Any:
    """Plain values without those of `rare` that have their usual value."""
    if isinstance(value, dict):
        return {
            key: _without(item, rare) for key, item in value.items() if key not in rare or item != rare[key]
        }
    return tuple(_without(item, rare) for item in value) if isinstance(value, tuple) else value


def check_between(what: str, value: Any, low: int, high: int) -> None:
    """Raise UsageError unless `value` is a whole number in the range."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{what}: expected a whole number from {low} to {high}, got {value!r}")


def check_width(what: str, *widths: Any) -> None:
    """Raise UsageError unless all are counts of channels."""
    for width in widths:
        check_between(f"{what} width", width, 1, _LIMITS["width"])


def _check_spec(spec: ModelSpec) -> None:
    """Check that the parts fit each other.

    One lateral per top-down step, one level more than steps.
    """
    if not isinstance(spec.name, str) or not spec.name:
        raise UsageError(f"ModelSpec.name: expected a name, got {spec.name!r}")
    if spec.act not in get_args(Activation):
        raise UsageError(
            f"{spec.name}: activation {spec.act!r} is not one of {', '.join(get_args(Activation))}"
        )
    if spec.tried not in get_args(Tried):
        raise UsageError(f"{spec.name}: tried {spec.tried!r} is not one of {', '.join(get_args(Tried)[1:])}")
    for flag in (spec.space_to_depth, spec.csp_spp, spec.rep, spec.inner_lateral):
        if not isinstance(flag, bool):
            raise UsageError(f"{spec.name}: expected true or false, got {flag!r}")
    check_between(f"{spec.name}: stem convolutions", len(spec.stem), 1, _LIMITS["stages"])
    check_between(f"{spec.name}: backbone stages", len(spec.backbone), 2, _LIMITS["stages"])
    check_between(f"{spec.name}: imgsz", spec.imgsz, 1, _LIMITS["imgsz"])
    for width, stride in spec.stem:
        check_width(f"{spec.name}: stem", width)
        check_between(f"{spec.name}: stem stride", stride, 1, 2)
    check_width(f"{spec.name}: spp, lead and aux", spec.spp, *spec.lead, *spec.aux)
    steps = len(spec.top_down)
    if not 1 <= steps < len(spec.backbone) or len(spec.bottom_up) != steps or spec.levels != steps + 1:
        raise UsageError(
            f"{spec.name}: {len(spec.backbone)} stages, {steps} steps down, {len(spec.bottom_up)} up and "
            f"{spec.levels} lead widths do not fit: expected as many steps up as down, one lead width more, "
            "and more stages than steps"
        )
    source = spec.backbone[-1 - steps].elan
    if spec.inner_lateral and (source.concatenated != source.out or source.twins > 1):
        raise UsageError(
            f"{spec.name}: the concatenation has {source.concatenated} channels, not {source.out}"
        )
    if len(spec.aux) not in (0, spec.levels):
        raise UsageError(f"{spec.name}: {len(spec.aux)} auxiliary widths for {spec.levels} levels")
    check_anchors(spec.name, spec.anchors, spec.levels)


def check_anchors(name: str, anchors: Anchors, levels: int) -> None:
    """Raise UsageError unless each level has as many anchors.

    All have positive sides.
    """
    counts = {len(level) for level in anchors}
    if len(anchors) != levels or len(counts) != 1 or not 1 <= counts.pop() <= _LIMITS["anchors"]:
        raise UsageError(f"{name}: expected the same number of anchors on each of {levels} levels")
    for side in (side for level in anchors for pair in level for side in pair):
        if isinstance(side, bool) or not isinstance(side, int | float) or not 0 < side < math.inf:
            raise UsageError(f"{name}: an anchor side must be a positive number of pixels, got {side!r}")
