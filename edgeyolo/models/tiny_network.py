"""YOLOv4-tiny as a torch network."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from edgeyolo.models.network import Network
from edgeyolo.models.tiny_topology import BLOCKS, TinySpec
from edgeyolo.models.topology import Form
from edgeyolo.models.units import Convs


class PartialBlock(nn.Module):
    """A partial block: (N, c, H, W) -> (N, 2c, H, W), and (N, c, H, W) inside it.

    The second is its last convolution's. Two convolutions work on half of the channels of a first one, a 1x1 mixes
    both, and the first is concatenated.
    """

    def __init__(self, c: int, convs: Convs) -> None:
        super().__init__()
        self.part = c // 2
        self.enter = convs(c, c, 3)
        self.first = convs(self.part, self.part, 3)
        self.second = convs(self.part, self.part, 3)
        self.mix = convs(c, c)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        entered = self.enter(x)
        first = self.first(entered[:, self.part :])
        inner = self.mix(torch.cat((self.second(first), first), 1))
        return torch.cat((entered, inner), 1), inner


class TinyStep(nn.Module):
    """One step to a finer level: reduce, enlarge, concatenate with the lateral."""

    def __init__(self, c_in: int, reduced: int, lateral: int, convs: Convs) -> None:
        super().__init__()
        self.reduce = convs(c_in, reduced)
        self.enlarge = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.lead = convs(reduced + lateral, lateral, 3)

    def forward(self, x: Tensor, lateral: Tensor) -> Tensor:
        return cast(Tensor, self.lead(torch.cat((self.enlarge(self.reduce(x)), lateral), 1)))


class TinyNetwork(Network):
    """YOLOv4-tiny: images in, raw head maps out, as with every `Network`."""

    def __init__(self, spec: TinySpec, classes: int, form: Form) -> None:
        super().__init__(spec, classes, form)
        convs, w = Convs(form, spec.act), spec.width
        self.stem = nn.Sequential(convs(3, w, 3, 2), convs(w, 2 * w, 3, 2))
        self.blocks = nn.ModuleList(PartialBlock(2 * w << place, convs) for place in range(BLOCKS))
        self.pool = nn.MaxPool2d(2, 2)
        self.last = convs(16 * w, 16 * w, 3)
        self.narrow = convs(16 * w, 8 * w)
        self.coarsest = convs(8 * w, 16 * w, 3)
        self.steps = nn.ModuleList(
            TinyStep(8 * w, 4 * w >> place, 8 * w >> place, convs) for place in range(spec.levels - 1)
        )
        self.add_outputs(spec.lead, implicit=False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(images)
        laterals = []
        for block in self.blocks:
            x, inner = block(x)
            x = self.pool(x)
            laterals.append(inner)
        x = self.narrow(self.last(x))
        leads = [self.coarsest(x)]
        for step, lateral in zip(self.steps, laterals[::-1], strict=False):
            x = step(x, lateral)
            leads.append(x)
        return tuple(out(lead) for out, lead in zip(self.outputs, leads[::-1], strict=True))
