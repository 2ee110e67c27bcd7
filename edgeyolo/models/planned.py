"""Parts that the paper tries on its own networks but they do not have.

Planned re-parameterization in concatenation (4.1, Table 4) and the whole auxiliary head (Table 8).

`build` puts it into a network whose spec names it, in every form, so that what was trained with it is saved, exported
and loaded like any other; the networks themselves know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor

from edgeyolo.errors import UsageError
from edgeyolo.models.blocks import ElanBlock, ElanChain
from edgeyolo.models.network import ElanNetwork
from edgeyolo.models.units import Convs, ConvUnit

Identity = bool | None
"""Choice for a convolution: RepConv with identity, without, or (None) as it is."""
Places = Callable[[bool, bool], Identity]
"""The choice for a convolution, told if its output goes to the concatenation and if it stands in the last stack."""

PLACES: Mapping[str, Places] = MappingProxyType(
    {
        "repconv-first": lambda kept, _: None if kept else True,
        "repconv-last": lambda kept, _: True if kept else None,
        "repconv-all": lambda _kept, _last: True,
        "repconv-end": lambda kept, last: True if kept and last else None,
        "repconv-planned": lambda kept, _: not kept,
    }
)


def put_rep_convs(network: ElanNetwork, places: Places) -> None:
    """Make 3x3 convolutions of every ELAN chain RepConvs (paper Table 4).

    A chain is a row of stacks, and the last convolution of each stack goes to the concatenation. Raises UsageError
    for networks without a stack of two, in which first and last are the same, and for blocks in groups.
    """
    chains = [module for module in network.modules() if isinstance(module, ElanChain)]
    if all(chain.stride == 1 for chain in chains):
        raise UsageError(
            f"{network.spec.name}: each convolution of its chains goes to the concatenation, so there is no choice of "
            "place for RepConv",
            hint="Take a network with stacked chains: yolov7, yolov7x, yolov7-w6, yolov7-e6, yolov7-d6.",
        )
    if any(chain.groups > 1 for chain in chains):
        raise UsageError(f"{network.spec.name}: RepConv is not tried in blocks of several groups")
    if network.form == "plain":
        return  # folded, a RepConv is the convolution that is there
    convs = Convs(network.form, network.spec.act)
    for chain in chains:
        last_stack = len(chain.chain) - chain.stride
        for position, unit in enumerate(chain.chain):
            assert isinstance(unit, ConvUnit)
            identity = places(position % chain.stride == chain.stride - 1, position >= last_stack)
            if identity is not None:
                kernel = unit.kernel
                chain.chain[position] = convs.rep(kernel.in_channels, kernel.out_channels, identity=identity)


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


def put_tried(network: ElanNetwork) -> None:
    """Put in what `network.spec.tried` names."""
    if network.spec.tried == "whole-aux":
        read_whole(network)
    else:
        put_rep_convs(network, PLACES[network.spec.tried])
