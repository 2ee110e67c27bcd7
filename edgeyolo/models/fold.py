"""Folding one unit of a network into the weight and bias of a plain convolution."""

from __future__ import annotations

from functools import singledispatch
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from edgeyolo.models.heads import ImplicitOutput, Output
from edgeyolo.models.units import ConvAct, ConvNorm, ConvNormAct, IdentityRepConv, RepConv


@singledispatch
def fold(unit: nn.Module) -> tuple[Tensor, Tensor]:
    """Fold `unit` into one convolution.

    Gives weight (c_out, c_in, k, k) and bias (c_out,), computed in float64.
    """
    raise TypeError(f"no rule to fold {type(unit).__name__}")


@fold.register
def _(unit: ConvNorm) -> tuple[Tensor, Tensor]:
    norm = unit.norm
    gain = norm.weight.double() / torch.sqrt(cast(Tensor, norm.running_var).double() + norm.eps)
    return (
        unit.conv.weight.double() * gain.view(-1, 1, 1, 1),
        norm.bias.double() - cast(Tensor, norm.running_mean).double() * gain,
    )


@fold.register
def _(unit: ConvNormAct) -> tuple[Tensor, Tensor]:
    return fold(unit.branch)


@fold.register
def _(unit: RepConv) -> tuple[Tensor, Tensor]:
    dense, dense_bias = fold(unit.dense)
    pointwise, pointwise_bias = fold(unit.pointwise)
    return dense + pad(pointwise, (1, 1, 1, 1)), dense_bias + pointwise_bias


@fold.register
def _(unit: IdentityRepConv) -> tuple[Tensor, Tensor]:
    weight, bias = fold.dispatch(RepConv)(unit)
    norm = unit.identity
    gain = norm.weight.double() / torch.sqrt(cast(Tensor, norm.running_var).double() + norm.eps)
    channels = torch.arange(len(gain), device=gain.device)
    weight[channels, channels, 1, 1] += gain
    return weight, bias + norm.bias.double() - cast(Tensor, norm.running_mean).double() * gain


@fold.register(ConvAct)
@fold.register(Output)
def _(unit: ConvAct | Output) -> tuple[Tensor, Tensor]:
    # .double() of a float64 network would be the same memory
    return unit.conv.weight.double().clone(), cast(Tensor, unit.conv.bias).double().clone()


@fold.register
def _(unit: ImplicitOutput) -> tuple[Tensor, Tensor]:
    weight, scale = unit.conv.weight.double(), unit.scale.double()
    shifted = cast(Tensor, unit.conv.bias).double() + weight.flatten(1) @ unit.offset.double().flatten()
    return weight * scale.view(-1, 1, 1, 1), shifted * scale.flatten()
