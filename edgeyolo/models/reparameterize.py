"""Re-parameterization of networks into plain convolutions (paper 4.1, 4.3).

Any form of a network gives the same function.

Everything is folded in float64 and rounded once:

- batch norm: W' = W * gamma / sqrt(var + eps), b' = beta - mean * gamma / sqrt(var + eps);
- RepConv: both branches folded, the 1x1 kernel padded to 3x3, added;
- implicit knowledge: y = m (W (x + a) + b), so W' = m W and b' = m (b + W a), row by row;
- the auxiliary branch is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeyolo.models.build import build
from edgeyolo.models.fold import fold
from edgeyolo.models.network import Network, conv_units, load_state


@dataclass(frozen=True)
class Deviation:
    """Deviation of one lead map.

    The largest absolute difference, and that relative to the largest value.
    """

    level: int
    absolute: float
    relative: float


@dataclass(frozen=True)
class FoldReport:
    """The deviations measured on one seeded random image of `size` = (height, width)."""

    size: tuple[int, int]
    seed: int
    levels: tuple[Deviation, ...]

    @property
    def largest(self) -> Deviation:
        """The level with the largest relative deviation."""
        return max(self.levels, key=lambda deviation: deviation.relative)


@dataclass(frozen=True)
class Reparameterized:
    """A network of plain convolutions in inference mode, with its deviation.

    The deviation says how exactly it repeats the original.
    """

    network: Network
    report: FoldReport


@torch.no_grad()
def reparameterize(network: Network, *, seed: int = 0) -> Reparameterized:
    """Fold a network of any form and class count into plain convolutions.

    The network itself is not changed; nothing is shared with it. Folding a folded network copies it. The
    result computes the original's lead maps in inference mode; the report says how exactly.
    """
    plain = build(network.spec, network.classes, "plain", device="meta")
    units = conv_units(network)
    state: dict[str, Tensor] = {}
    for name in conv_units(plain):
        unit = units[name]
        dtype = unit.kernel.weight.dtype
        weight, bias = fold(unit)
        state[f"{name}.conv.weight"], state[f"{name}.conv.bias"] = weight.to(dtype), bias.to(dtype)
    folded = load_state(plain, state)
    return Reparameterized(folded, _measure(network, folded, seed))


def _measure(network: Network, folded: Network, seed: int) -> FoldReport:
    side = 2 * network.strides[-1]
    generator = torch.Generator().manual_seed(seed)
    weight = next(network.parameters())
    image = torch.rand(1, 3, side, side, generator=generator).to(weight.device, weight.dtype)
    with inference(network):
        before = network(image)[: network.levels]
    deviations = []
    for level, (old, new) in enumerate(zip(before, folded(image), strict=True)):
        absolute, largest = (old - new).abs().max().item(), old.abs().max().item()
        # NaN compares as neither large nor small; a map that is not finite has moved without bound
        finite = math.isfinite(absolute)
        relative = absolute / largest if largest else absolute
        deviations.append(Deviation(level, *((absolute, relative) if finite else (math.inf, math.inf))))
    return FoldReport((side, side), seed, tuple(deviations))


@contextmanager
def inference(network: nn.Module) -> Iterator[None]:
    """Inference mode inside the block.

    Afterwards every module is in the mode it was in.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
