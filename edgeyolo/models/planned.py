"""Blocks that the paper tries but its networks do not have.

Planned re-parameterization (4.1, Tables 4 and 5) and the whole auxiliary head (Table 8).

`build` puts them into a network whose spec names one, in every form, so that what was trained with them is saved,
exported and loaded like any other; the networks themselves know nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from edgeyolo.errors import UsageError
from edgeyolo.models.blocks import ElanBlock, ElanChain
from edgeyolo.models.fold import fold
from edgeyolo.models.network import ElanNetwork
from edgeyolo.models.units import BN_EPS, BN_MOMENTUM, Convs, ConvUnit, RepConv

Place = Literal["first", "last", "all"]


class IdentityRepConv(RepConv):
    """RepConv as it was proposed.

    Besides the 3x3 and the 1x1 branch one that is nothing but a batch norm.
    """

    def __init__(self, channels: int, act: nn.Module) -> None:
        super().__init__(channels, channels, act)
        self.identity = nn.BatchNorm2d(channels, eps=BN_EPS, momentum=BN_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.dense(x) + self.pointwise(x) + self.identity(x))
        return result


@fold.register
def _(unit: IdentityRepConv) -> tuple[Tensor, Tensor]:
    weight, bias = fold.dispatch(RepConv)(unit)
    norm = unit.identity
    assert norm.running_mean is not None and norm.running_var is not None
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    channels = torch.arange(len(gain), device=gain.device)
    weight[channels, channels, 1, 1] += gain
    return weight, bias + norm.bias.double() - norm.running_mean.double() * gain


def put_rep_convs(network: ElanNetwork, place: Place, *, identity: bool) -> None:
    """Make 3x3 convolutions of every ELAN chain RepConvs (paper Table 4).

    A chain is a row of stacks, and the last convolution of each stack goes to the concatenation. place: which
    convolutions of a stack. identity: with the identity branch, where input and output have one width.
    Raises UsageError for networks without a stack of two, in which first and last are the same.
    """
    chains = [module for module in network.modules() if isinstance(module, ElanChain)]
    if all(chain.stride == 1 for chain in chains):
        raise UsageError(
            f"{network.spec.name}: each convolution of its chains goes to the concatenation, so there is no choice of "
            "place for RepConv",
            hint="Take a network with stacked chains: yolov7, yolov7x, yolov7-w6, yolov7-e6, yolov7-d6.",
        )
    if network.form == "plain":
        return  # folded, a RepConv is the convolution that is there
    convs = Convs(network.form, network.spec.act)
    for chain in chains:
        for position, unit in enumerate(chain.chain):
            in_stack = position % chain.stride
            first, last = in_stack == 0, in_stack == chain.stride - 1
            if place == "all" or (place == "first" and first) or (place == "last" and last):
                assert isinstance(unit, ConvUnit)
                chain.chain[position] = _rep_conv(unit.kernel, convs, identity=identity)


def _rep_conv(kernel: nn.Conv2d, convs: Convs, *, identity: bool) -> ConvUnit:
    if identity and kernel.in_channels == kernel.out_channels:
        return IdentityRepConv(kernel.out_channels, convs.activation())
    return RepConv(kernel.in_channels, kernel.out_channels, convs.activation())


class DarkBlock(nn.Module):
    """A residual block of one width: 1x1 then 3x3, or reversed (paper Figure 7).

    `rep` makes the 3x3 a RepConv.

    In the dark block the RepConv's own identity meets the residual connection, in the reversed one the 1x1 lies
    between them.
    """

    def __init__(self, width: int, convs: Convs, *, reverse: bool, rep: bool) -> None:
        super().__init__()
        branched = rep and convs.form != "plain"
        dense = IdentityRepConv(width, convs.activation()) if branched else convs(width, width, 3)
        pointwise = convs(width, width)
        self.units = nn.Sequential(*((dense, pointwise) if reverse else (pointwise, dense)))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.units(x)
        return result


class CspChain(nn.Module):
    """A cross stage partial block of CSPDarknet.

    (N, c_in, H, W) -> (N, out, H, W), half of it past the blocks.
    """

    def __init__(self, c_in: int, out: int, blocks: int, convs: Convs, *, reverse: bool, rep: bool) -> None:
        super().__init__()
        width = out // 2
        self.bypass = convs(c_in, width)
        self.enter = convs(c_in, width)
        self.blocks = nn.Sequential(
            *(DarkBlock(width, convs, reverse=reverse, rep=rep) for _ in range(blocks))
        )
        self.leave = convs(width, width)
        self.transition = convs(2 * width, out)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inner = torch.cat((self.leave(self.blocks(self.enter(x))), self.bypass(x)), 1)
        return self.transition(inner), inner


def put_csp_backbone(network: ElanNetwork, *, reverse: bool, rep: bool) -> None:
    """Replace the backbone's blocks by those of CSPDarknet (Table 5).

    There is a dark block for every two convolutions of a chain (Table 5).
    """
    convs = Convs(network.form, network.spec.act)
    for block, depth in _backbone(network):
        for number, chain in enumerate(block.twins):
            assert isinstance(chain, ElanChain)
            enter, leave = chain.enter.kernel, chain.transition.kernel
            block.twins[number] = CspChain(
                enter.in_channels, leave.out_channels, max(depth // 2, 1), convs, reverse=reverse, rep=rep
            )


def _backbone(network: ElanNetwork) -> Iterator[tuple[ElanBlock, int]]:
    for module, stage in zip(network.backbone, network.spec.backbone, strict=True):
        block = module.get_submodule("elan")
        assert isinstance(block, ElanBlock)
        yield block, stage.elan.depth


class WholeElanBlock(ElanBlock):
    """ElanBlock whose auxiliary heads read the sum, as lead heads do."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total, _, inner = super().forward(x)
        return total, total, inner


def read_whole(network: ElanNetwork) -> None:
    """Let auxiliary heads read blocks after their twins are added (Table 8).

    yolov7-e6e's own heads are partial.
    """
    for step in network.top_down:
        block = step.get_submodule("elan")
        assert isinstance(block, ElanBlock)
        block.__class__ = WholeElanBlock


_TRIED: dict[str, Callable[[ElanNetwork], None]] = {
    "repconv-first": partial(put_rep_convs, place="first", identity=True),
    "repconv-last": partial(put_rep_convs, place="last", identity=True),
    "repconv-all": partial(put_rep_convs, place="all", identity=True),
    "repconvn-first": partial(put_rep_convs, place="first", identity=False),
    "repconvn-last": partial(put_rep_convs, place="last", identity=False),
    "repconvn-all": partial(put_rep_convs, place="all", identity=False),
    "csp": partial(put_csp_backbone, reverse=False, rep=False),
    "rep-csp": partial(put_csp_backbone, reverse=False, rep=True),
    "reversed-csp": partial(put_csp_backbone, reverse=True, rep=False),
    "rep-reversed-csp": partial(put_csp_backbone, reverse=True, rep=True),
    "whole-aux": read_whole,
}


def put_tried(network: ElanNetwork) -> None:
    """Put in what `network.spec.tried` names."""
    _TRIED[network.spec.tried](network)
