"""Building blocks of the networks as torch modules.

They are in the order of execution that published checkpoints use.

All maps are float (N, C, H, W), in any memory format.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from edgeyolo.models.topology import Down, Elan, Stage, TopDown
from edgeyolo.models.units import Convs


class SpaceToDepth(nn.Module):
    """ReOrg: (N, C, H, W) -> (N, 4C, H/2, W/2).

    (row, column) even/even, odd/even, even/odd, odd/odd.
    """

    def forward(self, x: Tensor) -> Tensor:
        even, odd = x[:, :, ::2], x[:, :, 1::2]
        return torch.cat((even[..., ::2], odd[..., ::2], even[..., 1::2], odd[..., 1::2]), 1)


class ElanChain(nn.Module):
    """One ELAN block: (N, c_in, H, W) -> (N, spec.out, H, W) for each group.

    Returns each group's output and the concatenation that its transition reads. Groups are side by side in every
    map; the first two convolutions, which all read the same input, are dense, the others have as many groups.
    """

    def __init__(self, c_in: int, spec: Elan, convs: Convs) -> None:
        super().__init__()
        groups = spec.groups
        self.stride, self.groups = spec.stride, groups
        self.bypass = convs(c_in, groups * spec.width)
        self.enter = convs(c_in, groups * spec.width)
        widths = [groups * width for width in (spec.width, *[spec.chain_width] * spec.depth)]
        self.chain = nn.ModuleList(convs(a, b, 3, groups=groups) for a, b in pairwise(widths))
        self.transition = convs(groups * spec.concatenated, groups * spec.out, groups=groups)

    def forward(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        kept = [self.bypass(x), self.enter(x)]
        y = kept[-1]
        for position, conv in enumerate(self.chain, start=1):
            y = conv(y)
            if position % self.stride == 0:
                kept.append(y)
        if self.groups == 1:
            inner = torch.cat(kept[::-1], 1)
            return [(self.transition(inner), inner)]
        # The shuffle: concatenated by group, not by convolution.
        inners = [torch.cat([self.share(y, group) for y in kept[::-1]], 1) for group in range(self.groups)]
        outputs = self.transition(torch.cat(inners, 1))
        return [(self.share(outputs, group), inner) for group, inner in enumerate(inners)]

    def share(self, x: Tensor, group: int) -> Tensor:
        """The channels of one group, (N, g * c, H, W) -> (N, c, H, W)."""
        width = x.shape[1] // self.groups
        return x[:, group * width : (group + 1) * width]


class ElanBlock(nn.Module):
    """`spec.twins` ELAN blocks over one input, all their groups added.

    E-ELAN where there are two or more. Returns the sum, the last group's own output, which yolov7-e6e's auxiliary
    heads read (paper Table 8), and the last group's concatenation.
    """

    def __init__(self, c_in: int, spec: Elan, convs: Convs) -> None:
        super().__init__()
        self.twins = nn.ModuleList(ElanChain(c_in, spec, convs) for _ in range(spec.twins))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        outputs = [pair for twin in self.twins for pair in twin(x)]
        last, inner = outputs[-1]
        total = last
        for output, _ in outputs[:-1]:
            total = total + output
        return total, last, inner


class Pool(nn.MaxPool2d):
    """2x2 max pool: half the resolution, the same channels."""

    def __init__(self) -> None:
        super().__init__(2, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (super().forward(x),)


class Strided(nn.Module):
    """A 3x3 convolution of stride 2."""

    def __init__(self, c_in: int, c_out: int, convs: Convs) -> None:
        super().__init__()
        self.conv = convs(c_in, c_out, 3, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.conv(x),)


class MPConv(nn.Module):
    """Strided and pooled branch of `c_out / 2` channels each."""

    def __init__(self, c_in: int, c_out: int, convs: Convs) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, 2)
        self.pooled = convs(c_in, c_out // 2)
        self.reduce = convs(c_in, c_out // 2)
        self.strided = convs(c_out // 2, c_out // 2, 3, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        pooled = self.pooled(self.pool(x))
        return self.strided(self.reduce(x)), pooled


class DownC(nn.Module):
    """MPConv whose strided branch keeps the input's width.

    It keeps it up to the branch's 3x3 convolution.
    """

    def __init__(self, c_in: int, c_out: int, convs: Convs) -> None:
        super().__init__()
        self.reduce = convs(c_in, c_in)
        self.strided = convs(c_in, c_out // 2, 3, 2)
        self.pool = nn.MaxPool2d(2, 2)
        self.pooled = convs(c_in, c_out // 2)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.strided(self.reduce(x)), self.pooled(self.pool(x))


def make_down(kind: Down, c_in: int, c_out: int, convs: Convs) -> nn.Module:
    """The module that halves the resolution.

    It returns the maps to concatenate, `c_out` channels in all.
    """
    if kind == "pool":
        return Pool()
    return {"conv": Strided, "mpconv": MPConv, "downc": DownC}[kind](c_in, c_out, convs)


class StageBlock(nn.Module):
    """Half the resolution, then ELAN.

    `skip`, a map of the halved size, is concatenated in between. Returns the block's output and the concatenation
    before its transition.
    """

    def __init__(self, c_in: int, c_skip: int, spec: Stage, convs: Convs) -> None:
        super().__init__()
        self.down = make_down(spec.down, c_in, spec.channels, convs)
        self.elan = ElanBlock(spec.channels + c_skip, spec.elan, convs)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> tuple[Tensor, Tensor]:
        maps = list(self.down(x))
        if skip is not None:
            maps.append(skip)
        total, _, inner = self.elan(torch.cat(maps, 1) if len(maps) > 1 else maps[0])
        return total, inner


class TopDownBlock(nn.Module):
    """Coarse map and the backbone's map of twice its size -> the finer map.

    The finer map is returned twice: the second is the same before twins are added.
    """

    def __init__(self, c_in: int, c_skip: int, spec: TopDown, convs: Convs) -> None:
        super().__init__()
        self.reduce = convs(c_in, spec.channels)
        self.enlarge = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.lateral = convs(c_skip, spec.channels)
        self.elan = ElanBlock(2 * spec.channels, spec.elan, convs)

    def forward(self, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        enlarged = self.enlarge(self.reduce(x))
        total, last, _ = self.elan(torch.cat((self.lateral(skip), enlarged), 1))
        return total, last


class Pyramid(nn.Module):
    """Max pools of 5x5, 9x9 and 13x13 at stride 1.

    A map -> [13, 9, 5] of the same shape.

    A 9x9 maximum is the 5x5 maximum of a 5x5 maximum and a 13x13 that of a 9x9, borders included, so three
    5x5 pools give exactly the same numbers for a fifth of the comparisons.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        five = self.pool(x)
        nine = self.pool(five)
        return [self.pool(nine), nine, five]


class CspPyramid(nn.Module):
    """SPPCSPC: (N, c_in, H, W) -> (N, c, H, W), all hidden widths c."""

    def __init__(self, c_in: int, c: int, convs: Convs) -> None:
        super().__init__()
        self.conv1 = convs(c_in, c)
        self.bypass = convs(c_in, c)
        self.conv3 = convs(c, c, 3)
        self.conv4 = convs(c, c)
        self.pyramid = Pyramid()
        self.conv5 = convs(4 * c, c)
        self.conv6 = convs(c, c, 3)
        self.conv7 = convs(2 * c, c)

    def forward(self, x: Tensor) -> Tensor:
        y, bypass = self.conv1(x), self.bypass(x)
        y = self.conv4(self.conv3(y))
        y = self.conv6(self.conv5(torch.cat((y, *reversed(self.pyramid(y))), 1)))
        return cast(Tensor, self.conv7(torch.cat((y, bypass), 1)))


class TinyPyramid(nn.Module):
    """The shorter pyramid of yolov7-tiny: (N, c_in, H, W) -> (N, c, H, W)."""

    def __init__(self, c_in: int, c: int, convs: Convs) -> None:
        super().__init__()
        self.bypass = convs(c_in, c)
        self.enter = convs(c_in, c)
        self.pyramid = Pyramid()
        self.mix = convs(4 * c, c)
        self.transition = convs(2 * c, c)

    def forward(self, x: Tensor) -> Tensor:
        bypass = self.bypass(x)
        y = self.enter(x)
        y = self.mix(torch.cat((*self.pyramid(y), y), 1))
        return cast(Tensor, self.transition(torch.cat((y, bypass), 1)))
