"""A network corrected layer by layer.

Each convolution in turn is made to give, from what its integer form takes in, what it gives in float: upstream errors
are seen, and made good where they can be.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgeyolo_calib.onnx_graph import Graph
from edgeyolo_calib.qat.simulated import Quantizers
from edgeyolo_calib.qat.steps import Step, compute, steps_of
from edgeyolo_calib.quantize.even_sums import with_even_sums
from edgeyolo_calib.ranges.ranges import weight_scales
from edgeyolo_calib.refine.rounding import Moments, rounded


@dataclass(frozen=True)
class Changes:
    """Parts of a convolution that are corrected.

    `biases`: the mean error of every output channel is taken off its bias ("bias correction", Nagel et al., 2019,
    section 4.2, measured as there). `weights`: they are put on the integers' grid with `rounding.rounded`.
    """

    biases: bool
    weights: bool


@torch.no_grad()
def reconstructed(
    network: nn.Module, graph: Graph, quantizers: Quantizers, batches: Iterable[NDArray[np.float32]],
    changes: Changes,
) -> nn.Module:  # fmt: skip
    """A copy of a plain network whose convolutions bear integers better.

    Args:
        network: of plain convolutions.
        graph: the same as ONNX.
        quantizers: of the runtime, with the ranges that it will have.
        batches: calibration images (N, 3, H, W); all are held in memory, with what the network makes of them.
        changes: what is corrected.
    """
    made = copy.deepcopy(network)
    images = [torch.from_numpy(batch) for batch in batches]
    exact = {graph.inputs[0]: images}
    found = {graph.inputs[0]: [quantizers.quantize(graph.inputs[0], each) for each in images]}
    for step in steps_of(graph):
        if step.kind == "Conv":
            conv = cast(nn.Conv2d, network.get_submodule(step.module))
            exact[step.gives] = [_convolve(conv, each, conv.weight) for each in exact[step.takes[0]]]
            changed = cast(nn.Conv2d, made.get_submodule(step.module))
            integers = step.node in quantizers.nodes
            results = _settle(changed, exact[step.gives], found[step.takes[0]], integers, changes)
        else:
            exact[step.gives] = _apply(step, exact)
            results = _apply(step, found)
        found[step.gives] = [quantizers.quantize(step.gives, each) for each in results]
        for name in step.free:
            del exact[name], found[name]
    return made


def _apply(step: Step, held: dict[str, list[Tensor]]) -> list[Tensor]:
    return [
        compute(step.kind, list(values), step.numbers)
        for values in zip(*(held[name] for name in step.takes), strict=True)
    ]


def _convolve(conv: nn.Conv2d, values: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(values, weight, conv.bias, conv.stride, conv.padding, groups=conv.groups)


def _settle(
    conv: nn.Conv2d, wanted: list[Tensor], taken: list[Tensor], integers: bool, changes: Changes
) -> list[Tensor]:  # fmt: skip
    """Change a convolution, and give what it then makes of `taken`."""
    weight = conv.weight
    if integers:
        scales = torch.from_numpy(np.atleast_1d(weight_scales(weight.numpy())))
        if changes.weights and conv.groups == 1:
            moments = Moments(conv)
            for values in taken:
                moments.add(values)
            conv.weight.copy_(rounded(weight, scales, moments.damped()))
        weight = torch.from_numpy(with_even_sums(conv.weight.numpy(), scales.numpy()))
    results = [_convolve(conv, values, weight) for values in taken]
    if changes.biases and conv.bias is not None:
        count = sum(each.numel() // each.shape[1] for each in results)
        missing = sum(
            (want - got).sum(dim=(0, 2, 3), dtype=torch.float64)
            for want, got in zip(wanted, results, strict=True)
        )
        shift = (cast(Tensor, missing) / count).float()
        conv.bias.add_(shift)
        results = [each + shift[:, None, None] for each in results]
    return results
