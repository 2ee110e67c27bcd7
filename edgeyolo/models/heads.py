"""Output heads: one 1x1 convolution per level.

The training form has implicit knowledge.

Channels are anchor-major: x, y, w, h, objectness, then the classes, all raw (before the sigmoid).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from edgeyolo.models.units import ConvUnit


class Output(ConvUnit):
    """A plain 1x1 convolution with bias."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 1)

    @property
    def kernel(self) -> nn.Conv2d:
        return self.conv

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(x))


class ImplicitOutput(Output):
    """Implicit knowledge on an output (paper 4.3 (2)): `scale * (W (x + offset) + b)`.

    `offset` is (1, c_in, 1, 1), drawn from N(0, 0.02); `scale` is (1, c_out, 1, 1), drawn from N(1, 0.02).
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out)
        self.offset = nn.Parameter(torch.zeros(1, c_in, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, c_out, 1, 1))
        # Drawing on "meta" gives nothing, but makes torch import its compiler: a second.
        if not self.offset.is_meta:
            nn.init.normal_(self.offset, 0.0, 0.02)
            nn.init.normal_(self.scale, 1.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.scale * self.conv(x + self.offset))


@torch.no_grad()
def initialize_biases(outputs: Iterable[Output], strides: Iterable[int], anchors: int, classes: int) -> None:
    """Initialize the biases of the outputs.

    They start from about 8 objects in a 640 image and 0.6 of an object per class among them.

    Adds log(8 / (640 / stride)^2) to the objectness biases and log(0.6 / (classes - 0.99)) to the classes'.
    """
    for output, stride in zip(outputs, strides, strict=True):
        bias = cast(Tensor, output.conv.bias).view(anchors, 5 + classes)
        bias[:, 4] += math.log(8 / (640 / stride) ** 2)
        bias[:, 5:] += math.log(0.6 / (classes - 0.99))
