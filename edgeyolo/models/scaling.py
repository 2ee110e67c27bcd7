"""Compound scaling (paper 3.2).

It maps a spec to a spec, depth and transition widths together.

An ELAN block concatenates outputs of its chain, so its concatenation grows with its depth. The 1x1 transition
after it takes that concatenation in:

- depth alone (`scale_depth`) makes every transition's input wider while its output stays: a transition that
  turned 4w channels into 4w has to squeeze 6w into 4w when the chain is twice as long;
- width alone (`scale_width`) keeps the ratio, but spends its parameters on the 3x3 convolutions inside the
  blocks: they grow with the square of the factor;
- compound (`scale_compound`) deepens the blocks and widens everything outside them, the transitions above
  all, by what the concatenations grew: the ratio of every transition stays as it was designed.

No torch here; the specs are built and counted like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

from edgeyolo.errors import UsageError
from edgeyolo.models.csp_topology import Csp, CspSpec, CspStage, CspStep, Pan
from edgeyolo.models.specs import get
from edgeyolo.models.topology import Elan, ModelSpec, Stage, TopDown


def scale_compound(spec: ModelSpec, depth: float, *, name: str | None = None) -> ModelSpec:
    """Deepen every block by `depth` and widen all transitions alike.

    They widen by the growth of the blocks' concatenations.

    Widened are the stem, the down-sampling, the blocks' outputs, the pyramid, the laterals and the
    convolutions before the outputs; the widths inside the blocks stay. yolov7x, yolov7-e6 and yolov7-d6 came
    about in this way, with `depth` 1.5, 1.5 and 2.
    Raises UsageError where the blocks' concatenations do not all grow by the same ratio.
    """
    deeper = scale_depth(spec, depth)
    ratios = {
        Fraction(new.concatenated, old.concatenated)
        for old, new in zip(elans(spec), elans(deeper), strict=True)
    }
    if len(ratios) != 1:
        raise UsageError(
            f"{spec.name}: at depth x {depth:g} the blocks' outputs grow by {sorted(map(float, ratios))}, "
            "but the transitions can follow one ratio only"
        )
    return _widen(deeper, ratios.pop(), Fraction(1), name or f"{spec.name}-compound-{depth:g}")


def scale_width(spec: ModelSpec, width: float, *, name: str | None = None) -> ModelSpec:
    """Widen everything by `width`, inside the blocks too.

    The naive way to a wider network.
    """
    factor = Fraction(width).limit_denominator(64)
    return _widen(spec, factor, factor, name or f"{spec.name}-width-{width:g}")


def scale_csp_width(spec: CspSpec, width: float) -> CspSpec:
    """Widen every map of a baseline by `width`, to multiples of 8 channels."""
    factor = Fraction(width).limit_denominator(64)

    def wide(channels: int) -> int:
        return _channels(channels, factor)

    def block(csp: Csp) -> Csp:
        return replace(csp, out=wide(csp.out))

    def stage(part: CspStage) -> CspStage:
        return replace(part, channels=wide(part.channels), block=block(part.block))

    def step(part: CspStep) -> CspStep:
        return replace(part, channels=wide(part.channels), block=block(part.block))

    neck = spec.neck
    if isinstance(neck, Pan):
        neck = replace(
            neck,
            spp=wide(neck.spp),
            top_down=tuple(map(step, neck.top_down)),
            bottom_up=tuple(map(stage, neck.bottom_up)),
            lead=tuple(map(wide, neck.lead)),
        )
    else:
        neck = replace(neck, widths=tuple(map(wide, neck.widths)))
    backbone = tuple(map(stage, spec.backbone))
    return replace(
        spec, name=f"{spec.name}-width-{width:g}", width=wide(spec.width), backbone=backbone, neck=neck
    )


def scale_depth(spec: ModelSpec, depth: float, *, name: str | None = None) -> ModelSpec:
    """Lengthen every chain by `depth` and leave all widths.

    The naive way to a deeper network.
    """

    def deepen(elan: Elan) -> Elan:
        steps = max(1, round(elan.depth * depth / elan.stride))
        return replace(elan, depth=steps * elan.stride)

    return replace(map_elans(spec, deepen), name=name or f"{spec.name}-depth-{depth:g}")


def regroup(spec: ModelSpec, groups: int, *, name: str | None = None) -> ModelSpec:
    """Give every block so many groups at the cost that it has (Figure 2d).

    The blocks get narrower inside, what they give stays as wide. Inner widths are multiples of 8 channels, or of 4 in
    each of several groups, and the operations that a block saves or exceeds are carried over to the next.
    """
    step, left, inputs = 8 if groups == 1 else 4, 0, iter(_elan_inputs(spec))

    def narrow(elan: Elan) -> Elan:
        nonlocal left
        c_in, cells = next(inputs)
        left += cells * _multiplications(elan, c_in)
        tried = [
            _as_wide(replace(elan, twins=1, groups=groups), width)
            for width in range(step, max(step, elan.twins * elan.width) + 1, step)
        ]
        chosen = min(tried, key=lambda each: abs(cells * _multiplications(each, c_in) - left))
        left -= cells * _multiplications(chosen, c_in)
        return chosen

    return replace(map_elans(spec, narrow), name=name or f"{spec.name}-groups-{groups}")


def map_elans(spec: ModelSpec, change: Callable[[Elan], Elan]) -> ModelSpec:
    """The network with every ELAN block changed, in order of execution."""
    return replace(
        spec,
        backbone=tuple(replace(stage, elan=change(stage.elan)) for stage in spec.backbone),
        top_down=tuple(replace(step, elan=change(step.elan)) for step in spec.top_down),
        bottom_up=tuple(replace(stage, elan=change(stage.elan)) for stage in spec.bottom_up),
    )


def _as_wide(elan: Elan, width: int) -> Elan:
    """The block with other inner widths, in the same ratio to each other."""
    chain = None if elan.chain is None else max(1, elan.chain * width // elan.width)
    return replace(elan, width=width, chain=chain)


def _elan_inputs(spec: ModelSpec) -> list[tuple[int, int]]:
    """Channels that each ELAN block is given, and its cells, in order.

    The coarsest map counts as 1 cell.
    """
    coarse_first = [spec.spp, *(step.elan.out for step in spec.top_down)]
    stages, steps = len(spec.backbone), len(spec.top_down)
    skips = zip(spec.bottom_up, coarse_first[-2::-1], strict=True)
    return [
        *((stage.channels, 4 ** (stages - 1 - place)) for place, stage in enumerate(spec.backbone)),
        *((2 * step.channels, 4 ** (place + 1)) for place, step in enumerate(spec.top_down)),
        *((stage.channels + skip, 4 ** (steps - 1 - place)) for place, (stage, skip) in enumerate(skips)),
    ]


def _multiplications(elan: Elan, c_in: int) -> int:
    """Multiply-adds of a block for each cell."""
    width, chain = elan.width, elan.chain_width
    inside = 9 * (width * chain + (elan.depth - 1) * chain**2)
    each = 2 * c_in * width + inside + elan.concatenated * elan.out
    return elan.twins * elan.groups * each


def elans(spec: ModelSpec) -> Iterator[Elan]:
    """Every ELAN block of a network, in order of execution."""
    parts: tuple[Stage | TopDown, ...] = (*spec.backbone, *spec.top_down, *spec.bottom_up)
    return (part.elan for part in parts)


def table3() -> dict[str, ModelSpec]:
    """The four networks of the paper's Table 3, by the names of their rows.

    The last is yolov7x.
    """
    base = _yolov7x_light()
    return {
        "base (v7-X light)": base,
        "width only (1.25 w)": scale_width(base, 1.25),
        "depth only (2.0 d)": scale_depth(base, 2.0),
        "compound (v7-X)": scale_compound(base, 1.5, name="yolov7x"),
    }


def _yolov7x_light() -> ModelSpec:
    """yolov7 with "stack scaling on neck" (paper 5.1).

    Chains there as in its backbone; no RepConv.
    """
    yolov7 = get("yolov7")

    def stack(elan: Elan) -> Elan:
        return Elan(elan.width, elan.out, elan.depth)

    return replace(
        yolov7,
        name="yolov7x-light",
        top_down=tuple(replace(step, elan=stack(step.elan)) for step in yolov7.top_down),
        bottom_up=tuple(replace(stage, elan=stack(stage.elan)) for stage in yolov7.bottom_up),
        rep=False,
    )


def _widen(spec: ModelSpec, transition: Fraction, inner: Fraction, name: str) -> ModelSpec:
    """Multiply widths outside the blocks by `transition`, inside by `inner`."""

    def elan(block: Elan) -> Elan:
        chain = None if block.chain is None else _channels(block.chain, inner)
        return replace(
            block, width=_channels(block.width, inner), chain=chain, out=_channels(block.out, transition)
        )

    def stage(part: Stage) -> Stage:
        return replace(part, channels=_channels(part.channels, transition), elan=elan(part.elan))

    def step(part: TopDown) -> TopDown:
        return replace(part, channels=_channels(part.channels, transition), elan=elan(part.elan))

    return replace(
        spec,
        name=name,
        stem=tuple((_channels(width, transition), stride) for width, stride in spec.stem),
        backbone=tuple(map(stage, spec.backbone)),
        spp=_channels(spec.spp, transition),
        top_down=tuple(map(step, spec.top_down)),
        bottom_up=tuple(map(stage, spec.bottom_up)),
        lead=tuple(_channels(width, transition) for width in spec.lead),
        aux=tuple(_channels(width, transition) for width in spec.aux),
    )


def _channels(width: int, factor: Fraction) -> int:
    """The nearest multiple of 8, which hardware likes.

    Every published width is one already.
    """
    return max(8, round(width * factor / 8) * 8)
