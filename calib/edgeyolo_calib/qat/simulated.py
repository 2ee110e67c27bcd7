"""A network as its INT8 form will compute it, in torch and differentiable.

The exported graph, run operator by operator with fake quantizers where the Q/DQ graph has its quantizers.

The graph is that of the export and the places are those of `rules.place`, so what is trained is what will run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeyolo.models.network import Network
from edgeyolo.training.loop.technique import Wrapper
from edgeyolo_calib.onnx_graph import Graph
from edgeyolo_calib.qat.steps import Step, compute, steps_of
from edgeyolo_calib.quantize.even_sums import with_even_sums
from edgeyolo_calib.quantize.rules import Placement, Rules
from edgeyolo_calib.ranges.ranges import INT8, weight_scales

Ranges = Mapping[str, tuple[float, float]]

_RATE = 100.0
"""Optimisers' steps are made for weights, a few hundredths each; logarithms of scales have to move in proportion, so
they are learned as this times a parameter."""


class Quantizers(nn.Module):
    """The fake quantizers of one placement: a learned scale for each group of tensors.

    Zero points stay as measured.

    Scales are learned as logarithms, so that they stay positive and move in proportion (Jain et al., "Trained
    Quantization Thresholds", 2020); gradients are weighted as in "Learned Step Size Quantization" (Esser et al., 2020).
    Groups that hold an input are not learned: pixels have their range.
    """

    zero: Tensor

    def __init__(self, rules: Rules, placement: Placement, ranges: Ranges, inputs: Sequence[str]) -> None:
        super().__init__()
        self.name, self.grid, self.nodes = rules.name, rules.grid, frozenset(placement.nodes)
        first: dict[str, str] = {}
        for name, group in placement.tensors.items():
            first.setdefault(group, name)
        number = {group: i for i, group in enumerate(first)}
        self.place = {name: number[group] for name, group in placement.tensors.items()}
        self.fixed = frozenset(self.place[name] for name in inputs if name in self.place)
        placed = [self.grid.place(*ranges[name]) for name in first.values()]
        self.log_scale = nn.Parameter(torch.tensor([math.log(scale) / _RATE for scale, _ in placed]))
        self.register_buffer("zero", torch.tensor([float(zero) for _, zero in placed]))

    def quantize(self, name: str, values: Tensor) -> Tensor:
        """A tensor's values on its grid; unchanged where it has no quantizer."""
        number = self.place.get(name)
        if number is None:
            return values
        scale, zero = (self.log_scale[number : number + 1] * _RATE).exp(), self.zero[number : number + 1]
        if number in self.fixed:
            scale = scale.detach()
        weight = 1.0 / math.sqrt(values.numel() * self.grid.high)
        rounded: Tensor = torch._fake_quantize_learnable_per_tensor_affine(
            values.float(), scale, zero, self.grid.low, self.grid.high, weight
        )
        return rounded

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Each tensor's (low, high) as it stands."""
        low, high = self.grid.low, self.grid.high
        scales = (self.log_scale.detach().double() * _RATE).exp().tolist()
        zeros = self.zero.double().tolist()
        return {
            name: (scales[i] * (low - zeros[i]), scales[i] * (high - zeros[i]))
            for name, i in self.place.items()
        }


class Simulated(Wrapper):
    """Runs `network`, of plain convolutions, with fake quantizers.

    `kinds` are its placements, one for each family of runtimes. In training they take turns, one an iteration, so that
    one set of weights suits all; in inference mode the first is used. Weights are symmetric in int8 with a scale for
    each output channel, which its largest weight attains.
    """

    turn: Tensor

    def __init__(self, network: Network, graph: Graph, kinds: Sequence[Quantizers]) -> None:
        super().__init__(network)
        self.steps, self.input, self.outputs = steps_of(graph), graph.inputs[0], graph.outputs
        self.kinds = nn.ModuleList(kinds)
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run `Network.forward` in the arithmetic of integers."""
        quantizers = self.quantizers()[int(self.turn) % len(self.kinds) if self.training else 0]
        if self.training:
            self.turn += 1
        held = {self.input: quantizers.quantize(self.input, images)}
        for step in self.steps:
            values = [held[name] for name in step.takes]
            given = (
                compute(step.kind, values, step.numbers)
                if step.kind != "Conv"
                else self._convolve(step, values[0], step.node in quantizers.nodes)
            )
            held[step.gives] = quantizers.quantize(step.gives, given)
            for name in step.free:
                del held[name]
        return tuple(held[name] for name in self.outputs)

    @torch.no_grad()
    def round_weights(self) -> None:
        """Round the weights that are integers in every placement so that errors cancel."""
        for step in self.steps:
            if step.kind == "Conv" and all(step.node in each.nodes for each in self.quantizers()):
                weight = self._conv(step).weight
                values = weight.detach().cpu().numpy()
                weight.copy_(torch.from_numpy(with_even_sums(values, weight_scales(values))))

    def _conv(self, step: Step) -> nn.Conv2d:
        return cast(nn.Conv2d, self.network.get_submodule(step.module))

    def quantizers(self) -> list[Quantizers]:
        """The placements' quantizers."""
        return [cast(Quantizers, each) for each in self.kinds]

    def _convolve(self, step: Step, values: Tensor, integers: bool) -> Tensor:
        conv = self._conv(step)
        weight = on_int8(conv.weight) if integers else conv.weight
        return F.conv2d(values, weight, conv.bias, conv.stride, conv.padding, groups=conv.groups)


def on_int8(weight: Tensor) -> Tensor:
    """A convolution's weight on symmetric int8, a scale for each output channel.

    Gradients pass straight through.
    """
    with torch.no_grad():
        largest = weight.flatten(1).abs().amax(1).float()
        scale = torch.where(largest > 0, largest / INT8.high, 1.0)
        zero = torch.zeros(len(scale), dtype=torch.int32, device=scale.device)
    return torch.fake_quantize_per_channel_affine(weight.float(), scale, zero, 0, INT8.low, INT8.high)
