"""The network rewritten for the engine.

In operations that it runs itself, and with an input that float16 holds.

Nothing changes in what the network computes, but for float32 rounding.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from edgeyolo.export.for_backends import ConvAct, PartialBlock, SpaceToDepth, has_groups, to_twins


class FoldedConv(nn.Sequential):
    """Space-to-depth and the 3x3 convolution behind it as one 6x6 convolution.

    It has stride 2; then comes the activation.

    Tap (2i + r, 2j + s) of the wide kernel is tap (i, j) of the narrow one on the plane that holds the pixels
    of row parity r and column parity s, so every product of the original appears once and no other does.
    """

    def __init__(self, unit: ConvAct) -> None:
        narrow = unit.conv
        colours = narrow.in_channels // 4
        wide = nn.Conv2d(colours, narrow.out_channels, 6, 2, 2, device=narrow.weight.device)
        super().__init__(wide, unit.act)
        with torch.no_grad():
            for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
                plane = colours * (row + 2 * column)  # the order of `SpaceToDepth`
                wide.weight[:, :, row::2, column::2] = narrow.weight[:, plane : plane + colours]
            cast(Tensor, wide.bias).copy_(cast(Tensor, narrow.bias))


class SplitBlock(nn.Module):
    """A partial block whose first convolution gives its halves one by one.

    So none is sliced off.

    Every product of the original appears once and no other does.
    """

    def __init__(self, block: PartialBlock) -> None:
        super().__init__()
        rows = block.enter.kernel.out_channels
        self.passed = _rows(cast(ConvAct, block.enter), slice(0, block.part))
        self.part = _rows(cast(ConvAct, block.enter), slice(block.part, rows))
        self.first, self.second, self.mix = block.first, block.second, block.mix

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        passed, part = self.passed(x), self.part(x)
        first = self.first(part)
        inner = self.mix(torch.cat((self.second(first), first), 1))
        return torch.cat((passed, part, inner), 1), inner


@torch.no_grad()
def _rows(unit: ConvAct, rows: slice) -> nn.Module:
    """The part of a convolution that gives these of its channels, with the activation."""
    conv = copy.deepcopy(unit.conv)
    conv.weight = nn.Parameter(unit.conv.weight[rows].clone())
    conv.bias = nn.Parameter(cast(Tensor, unit.conv.bias)[rows].clone())
    conv.out_channels = len(conv.weight)
    return nn.Sequential(conv, unit.act)


def without_slices(network: nn.Module) -> nn.Module:
    """`network` in convolutions and concatenations alone; the network itself is kept.

    A leading space-to-depth becomes part of its convolution, a convolution of which a half is sliced off is two, and
    E-ELAN in groups is twins.

    Slices of a stride along the width that begin at an odd column are what the engines of A13 and A14 store in
    a fixed-point format (see `neural_engine`); of those along the channels nothing is known. A network that has none
    is returned as it is.
    """
    if has_groups(network):
        network = to_twins(cast(Any, network))
    return _lowered(network)


def _lowered(module: nn.Module) -> nn.Module:
    if isinstance(module, PartialBlock):
        return SplitBlock(module)
    folded = _fold(module)
    children = dict(folded.named_children())
    lowered = {name: _lowered(child) for name, child in children.items()}
    if all(lowered[name] is child for name, child in children.items()):
        return folded
    clone = copy.copy(folded)  # shares parameters and everything else
    clone._modules = {**folded._modules, **lowered}
    return clone


def _fold(child: nn.Module) -> nn.Module:
    if not isinstance(child, nn.Sequential) or len(child) < 2:
        return child
    first, second, *rest = child
    if not isinstance(first, SpaceToDepth) or not isinstance(second, ConvAct):
        return child
    kernel = second.conv
    if (kernel.kernel_size, kernel.stride, kernel.padding) != ((3, 3), (1, 1), (1, 1)):
        return child
    return nn.Sequential(FoldedConv(second), *rest)


@torch.no_grad()
def rescale_input(network: nn.Module, factor: float) -> None:
    """Change `network` so that it takes its input divided by `factor`.

    Its first convolution makes up for it.
    """
    first = next(unit for unit in network.modules() if isinstance(unit, nn.Conv2d))
    first.weight.mul_(factor)
