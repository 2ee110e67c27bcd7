"""The exponential moving average of a network: what is evaluated and published."""

from __future__ import annotations

import copy
import math
from typing import cast

import torch
from torch import Tensor, nn

from edgeyolo.training.loop.technique import Trainable


class Ema:
    """Exponential moving average of a network, in inference mode.

    It follows the network's floating state (weights and batch norm statistics).

    After each optimiser step number u: average = d * average + (1 - d) * value, d = decay * (1 - exp(-u /
    warmup)).
    """

    def __init__(self, network: Trainable, *, decay: float = 0.9999, warmup: float = 2000.0) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay, self.warmup, self.updates = decay, warmup, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Follow `network` by one step."""
        self.updates += 1
        d = self.decay * (1 - math.exp(-self.updates / self.warmup))
        average, current = _floating(self.network), _floating(network)
        torch._foreach_lerp_(average, current, 1 - d)


def _floating(network: nn.Module) -> list[Tensor]:
    values = network.state_dict(keep_vars=True).values()
    return [cast(Tensor, value).detach() for value in values if value.is_floating_point()]
