"""The network rewritten for the engine.

In operations that it runs itself, and with an input that float16 holds.

Nothing changes in what the network computes, but for float32 rounding.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from edgeyolo.export.for_backends import ConvAct, SpaceToDepth


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


def without_slices(network: nn.Module) -> nn.Module:
    """`network` with every leading space-to-depth folded into its convolution.

    The network itself is kept.

    Slices of a stride along the width that begin at an odd column are what the engines of A13 and A14 store in
    a fixed-point format (see `neural_engine`). A network that has none is returned as it is.
    """
    children = dict(network.named_children())
    folded = {name: _fold(child) for name, child in children.items()}
    if all(folded[name] is child for name, child in children.items()):
        return network
    clone = copy.copy(network)  # shares parameters and everything else
    clone._modules = {**network._modules, **folded}
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
