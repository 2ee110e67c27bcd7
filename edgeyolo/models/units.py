"""Convolutions with what belongs to them, of three kinds.

`Convs` makes those of one form.

A network has the same module paths in each form, so that folding is unit by unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import cast

from torch import Tensor, nn
from torch.nn.functional import relu6

from edgeyolo.models.topology import Activation, Form


class ReLU6(nn.Module):
    """ReLU with an upper limit: min(max(x, 0), 6).

    nn.ReLU6 is traced as a hardtanh, for which Core ML has no operator that its engine runs.
    """

    def forward(self, x: Tensor) -> Tensor:
        return relu6(x)


BN_EPS, BN_MOMENTUM = 1e-3, 0.03
ACTIVATIONS: Mapping[Activation, Callable[[], nn.Module]] = MappingProxyType(
    {"silu": nn.SiLU, "leaky_relu": partial(nn.LeakyReLU, 0.1), "relu": nn.ReLU, "relu6": ReLU6}
)


class ConvUnit(nn.Module):
    """A convolution and what belongs to it; padding keeps the size at stride 1."""

    @property
    def kernel(self) -> nn.Conv2d:
        """Main convolution of the unit.

        It has the kernel size and stride of the convolution that remains when the unit is folded into one.
        """
        raise NotImplementedError


class ConvNorm(nn.Sequential):
    """A convolution without bias and its batch norm."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(c_out, eps=BN_EPS, momentum=BN_MOMENTUM)


class ConvNormAct(ConvUnit):
    """Convolution, batch norm, activation (paper 4.3 (1))."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, stride: int, act: nn.Module, *, groups: int = 1
    ) -> None:
        super().__init__()
        self.branch = ConvNorm(c_in, c_out, kernel, stride, groups)
        self.act = act

    @property
    def kernel(self) -> nn.Conv2d:
        return self.branch.conv

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.act(self.branch(x)))


class RepConv(ConvUnit):
    """RepConvN (paper 4.1): a 3x3 and a 1x1 branch, each with its batch norm, added.

    No identity branch.
    """

    def __init__(self, c_in: int, c_out: int, act: nn.Module) -> None:
        super().__init__()
        self.dense = ConvNorm(c_in, c_out, 3, 1)
        self.pointwise = ConvNorm(c_in, c_out, 1, 1)
        self.act = act

    @property
    def kernel(self) -> nn.Conv2d:
        return self.dense.conv

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.act(self.dense(x) + self.pointwise(x)))


class IdentityRepConv(RepConv):
    """RepConv as it was proposed.

    Besides the 3x3 and the 1x1 branch one that is nothing but a batch norm. Only the paper's Tables 4 and 5 try it.
    """

    def __init__(self, channels: int, act: nn.Module) -> None:
        super().__init__(channels, channels, act)
        self.identity = nn.BatchNorm2d(channels, eps=BN_EPS, momentum=BN_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.act(self.dense(x) + self.pointwise(x) + self.identity(x)))


class ConvAct(ConvUnit):
    """A convolution with bias, then the activation.

    The other two units become this one when folded.
    """

    def __init__(
        self, c_in: int, c_out: int, kernel: int, stride: int, act: nn.Module, *, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups)
        self.act = act

    @property
    def kernel(self) -> nn.Conv2d:
        return self.conv

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.act(self.conv(x)))


@dataclass(frozen=True)
class Convs:
    """Makes the convolutions of one form of a network."""

    form: Form
    act: Activation

    def __call__(
        self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1, *, groups: int = 1
    ) -> ConvUnit:
        kind = ConvAct if self.form == "plain" else ConvNormAct
        return kind(c_in, c_out, kernel, stride, self.activation(), groups=groups)

    def linear(self, c_in: int, c_out: int) -> ConvUnit:
        """A 1x1 convolution without activation."""
        kind = ConvAct if self.form == "plain" else ConvNormAct
        return kind(c_in, c_out, 1, 1, nn.Identity())

    def rep(self, c_in: int, c_out: int, *, identity: bool = False) -> ConvUnit:
        """A 3x3 RepConv.

        identity: with the identity branch, where input and output have one width.
        """
        if self.form == "plain":
            return self(c_in, c_out, 3)
        if identity and c_in == c_out:
            return IdentityRepConv(c_in, self.activation())
        return RepConv(c_in, c_out, self.activation())

    def activation(self) -> nn.Module:
        """The network's activation.

        Not in place, so that observers may keep what a convolution gave.
        """
        return ACTIVATIONS[self.act]()
