"""The baselines' building blocks as torch modules.

They are registered in the order in which published checkpoints are read. All maps are float (N, C, H, W), in any
memory format.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from edgeyolo.models.blocks import DownC, Pyramid, SpaceToDepth, Strided
from edgeyolo.models.csp_topology import CARDINALITY, Csp, CspStage, CspStep, Halving, Stem
from edgeyolo.models.units import Convs


class Cell(nn.Module):
    """One link of a chain, with or without shortcut.

    A dark cell is a 1x1 and a 3x3 convolution, the other way round where it is reversed; a residual one is a 1x1, a 3x3
    and a 1x1.
    """

    def __init__(self, spec: Csp, convs: Convs) -> None:
        super().__init__()
        groups = CARDINALITY if spec.cell == "resx" else 1
        self.shortcut = spec.shortcut
        self.convs = nn.Sequential()
        for kernel, c_in, c_out in spec.cell_convs:
            if kernel == 3 and spec.cell.startswith("rep-"):
                self.convs.append(convs.rep(c_in, c_out, identity=True))
            else:
                self.convs.append(convs(c_in, c_out, kernel, groups=groups if kernel == 3 else 1))

    def forward(self, x: Tensor) -> Tensor:
        y = cast(Tensor, self.convs(x))
        return x + y if self.shortcut else y


class CspBlock(nn.Module):
    """One block, see `Csp`: (N, c_in, H, W) -> (N, spec.out, H, W)."""

    def __init__(self, c_in: int, spec: Csp, convs: Convs) -> None:
        super().__init__()
        c, late = spec.width, spec.split == "late"
        self.chain = nn.Sequential(*(Cell(spec, convs) for _ in range(spec.depth)))
        self.enter = convs(c_in, c)
        self.bypass = convs(c if late else c_in, c)
        self.close = convs(c, c) if spec.split == "half-closed" else nn.Identity()
        self.transition = convs(2 * c, spec.out)
        self.late = late

    def forward(self, x: Tensor) -> Tensor:
        entered = self.enter(x)
        bypass = self.bypass(entered if self.late else x)
        return cast(Tensor, self.transition(torch.cat((self.close(self.chain(entered)), bypass), 1)))


def make_block(c_in: int, spec: Csp, convs: Convs) -> nn.Module:
    """The module of a block.

    One that is not split is its chain alone and keeps the channels.
    """
    if spec.split == "none":
        return nn.Sequential(*(Cell(spec, convs) for _ in range(spec.depth)))
    return CspBlock(c_in, spec, convs)


class PooledStem(nn.Module):
    """The residual networks' stem, stride 4.

    It has a strided and a pooled branch of `c / 2` channels each.
    """

    def __init__(self, c: int, convs: Convs) -> None:
        super().__init__()
        half = c // 2
        self.conv1 = convs(3, half, 3, 2)
        self.conv2 = convs(half, half)
        self.strided = convs(half, half, 3, 2)
        self.pool = nn.MaxPool2d(2, 2)
        self.transition = convs(2 * half, c)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return cast(Tensor, self.transition(torch.cat((self.strided(self.conv2(x)), self.pool(x)), 1)))


def make_stem(kind: Stem, c: int, convs: Convs) -> nn.Module:
    """The module before the first stage: images in, `c` channels out."""
    if kind == "focus":
        return nn.Sequential(SpaceToDepth(), convs(12, c, 3))
    if kind == "pooled":
        return PooledStem(c, convs)
    return nn.Sequential(convs(3, c // 2, 3), convs(c // 2, c, 3, 2), Cell(Csp(c, 1, "none"), convs))


class CspStageBlock(nn.Module):
    """Half the resolution, then the block.

    `skip`, a map of the halved size, is concatenated in between.
    """

    def __init__(self, c_in: int, c_skip: int, spec: CspStage, convs: Convs) -> None:
        super().__init__()
        self.down = _make_down(spec.down, c_in, spec.channels, convs)
        self.block = make_block(spec.channels + c_skip, spec.block, convs)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        maps = [*self.down(x), *(() if skip is None else (skip,))] if self.down is not None else [x]
        return cast(Tensor, self.block(torch.cat(maps, 1) if len(maps) > 1 else maps[0]))


def _make_down(kind: Halving, c_in: int, c_out: int, convs: Convs) -> nn.Module | None:
    if kind == "none":
        return None
    return (DownC if kind == "downc" else Strided)(c_in, c_out, convs)


class CspStepBlock(nn.Module):
    """Coarse map and the backbone's map of twice its size -> finer map."""

    def __init__(self, c_in: int, c_skip: int, spec: CspStep, convs: Convs) -> None:
        super().__init__()
        self.reduce = convs(c_in, spec.channels)
        self.enlarge = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.lateral = convs(c_skip, spec.channels)
        self.block = make_block(2 * spec.channels, spec.block, convs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        enlarged = self.enlarge(self.reduce(x))
        return cast(Tensor, self.block(torch.cat((self.lateral(skip), enlarged), 1)))


class SpatialPyramid(nn.Module):
    """SPP of YOLOv3.

    1x1 to half the channels, with its max pools of 5, 9 and 13 concatenated, 1x1 to `c`.
    """

    def __init__(self, c_in: int, c: int, convs: Convs) -> None:
        super().__init__()
        self.enter = convs(c_in, c_in // 2)
        self.pyramid = Pyramid()
        self.mix = convs(4 * (c_in // 2), c)

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(x)
        return cast(Tensor, self.mix(torch.cat((y, *reversed(self.pyramid(y))), 1)))


class FpnLevel(nn.Module):
    """One level of YOLOv3's neck.

    Five convolutions to `c`, and the one before the output to `2c`. Levels but the coarsest are given the next
    coarser one, reduced to `c`, enlarged, before the backbone's map.
    """

    def __init__(self, c_coarse: int, c_skip: int, c: int, convs: Convs, *, spp: bool = False) -> None:
        super().__init__()
        self.reduce = convs(c_coarse, c) if c_coarse else None
        self.enlarge = nn.Upsample(scale_factor=2.0, mode="nearest")
        third = SpatialPyramid(2 * c, c, convs) if spp else convs(2 * c, c)
        c_in = c_skip + (c if c_coarse else 0)
        self.five = nn.Sequential(
            convs(c_in, c), convs(c, 2 * c, 3), third, convs(c, 2 * c, 3), convs(2 * c, c)
        )
        self.lead = convs(c, 2 * c, 3)

    def forward(self, skip: Tensor, coarse: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The level's map, for the next finer one, and that before the output."""
        if self.reduce is not None and coarse is not None:
            skip = torch.cat((self.enlarge(self.reduce(coarse)), skip), 1)
        y = self.five(skip)
        return y, self.lead(y)
