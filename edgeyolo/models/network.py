"""Torch networks built from specs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from edgeyolo.models.blocks import CspPyramid, SpaceToDepth, StageBlock, TinyPyramid, TopDownBlock
from edgeyolo.models.heads import ImplicitOutput, Output, initialize_biases
from edgeyolo.models.network_spec import Spec
from edgeyolo.models.topology import Anchors, Form, ModelSpec
from edgeyolo.models.units import Convs, ConvUnit


class Network(nn.Module):
    """A network: images in, raw head maps out.

    `forward(images)` takes float (N, 3, H, W), RGB in 0..1, H and W multiples of the largest stride. It gives
    one map per level, finest first: (N, anchors * (5 + classes), H / stride, W / stride), see `heads`. In the
    training form of a network with auxiliary heads as many auxiliary maps of the same shapes follow:
    `maps[:network.levels]` are the lead maps and `maps[network.levels:]` the auxiliary ones, if any.

    Submodules are registered in the order in which published checkpoints number them.
    """

    outputs: nn.ModuleList
    aux_outputs: nn.ModuleList

    def __init__(self, spec: Spec, classes: int, form: Form) -> None:
        super().__init__()
        self.spec, self.classes, self.form = spec, classes, form

    def add_outputs(self, lead: Sequence[int], aux: Sequence[int] = (), *, implicit: bool = True) -> None:
        """Make the outputs on maps of these widths.

        Lead ones have implicit knowledge in the training form.
        """
        kind = ImplicitOutput if implicit and self.form == "training" else Output
        self.outputs = nn.ModuleList(kind(c, self.channels) for c in lead)
        self.aux_outputs = nn.ModuleList(Output(c, self.channels) for c in aux)
        for outputs in filter(len, (self.outputs, self.aux_outputs)):
            initialize_biases(cast(list[Output], outputs), self.strides, len(self.anchors[0]), self.classes)

    @property
    def levels(self) -> int:
        """The number of lead maps."""
        return self.spec.levels

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level, finest first."""
        return self.spec.strides

    @property
    def anchors(self) -> Anchors:
        """(width, height) in pixels of each level's anchors."""
        return self.spec.anchors

    @property
    def channels(self) -> int:
        """Channels of each map."""
        return len(self.spec.anchors[0]) * (5 + self.classes)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError


def load_state(network: Network, state: Mapping[str, Tensor]) -> Network:
    """Load weights into a network built on "meta", without copying them.

    The network is put into inference mode.

    `state` may leave out the batch norms' counters: their momentum is fixed, so nothing reads them.
    """
    counters = {key for key in network.state_dict() if key.endswith("num_batches_tracked")} - state.keys()
    zeros = {key: torch.zeros((), dtype=torch.int64) for key in counters}
    network.load_state_dict({**state, **zeros}, strict=True, assign=True)
    return network.eval()


def conv_units(network: nn.Module) -> dict[str, ConvUnit]:
    """Every convolution of a network by its module path, in the order of registration."""
    return {name: module for name, module in network.named_modules() if isinstance(module, ConvUnit)}


class ElanNetwork(Network):
    """A network of the family, see `ModelSpec`."""

    spec: ModelSpec

    def __init__(self, spec: ModelSpec, classes: int, form: Form) -> None:
        super().__init__(spec, classes, form)
        convs = Convs(form, spec.act)
        self.stem, width = _stem(spec, convs)
        pyramid = [stage.elan.out for stage in spec.backbone]
        inputs = [width, *pyramid]
        self.backbone = nn.ModuleList(
            StageBlock(c_in, 0, stage, convs) for c_in, stage in zip(inputs, spec.backbone, strict=False)
        )
        self.spp = (CspPyramid if spec.csp_spp else TinyPyramid)(pyramid[-1], spec.spp, convs)
        coarse_first = [spec.spp, *(step.elan.out for step in spec.top_down)]
        self.top_down = nn.ModuleList(
            TopDownBlock(c_in, c_skip, step, convs)
            for c_in, c_skip, step in zip(coarse_first, pyramid[-2::-1], spec.top_down, strict=False)
        )
        refined = [coarse_first[-1], *(stage.elan.out for stage in spec.bottom_up)]
        self.bottom_up = nn.ModuleList(
            StageBlock(c_in, c_skip, stage, convs)
            for c_in, c_skip, stage in zip(refined, coarse_first[-2::-1], spec.bottom_up, strict=False)
        )
        aux = spec.aux if form == "training" else ()
        last = convs.rep if spec.rep else lambda c_in, c_out: convs(c_in, c_out, 3)
        self.lead = nn.ModuleList(last(c_in, c) for c_in, c in zip(refined, spec.lead, strict=True))
        self.aux = nn.ModuleList(convs(c_in, c, 3) for c_in, c in zip(coarse_first[::-1], aux, strict=False))
        self.add_outputs(spec.lead, aux)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(images)
        pyramid = []
        for stage in self.backbone:
            x, inner = stage(x)
            pyramid.append((x, inner))
        x = self.spp(x)
        coarse_first, before_adding = [x], [x]
        for place, (step, (skip, inner)) in enumerate(zip(self.top_down, pyramid[-2::-1], strict=False), 1):
            inside = self.spec.inner_lateral and place == len(self.top_down)
            x, twin = step(x, inner if inside else skip)
            coarse_first.append(x)
            before_adding.append(twin)
        refined = [x]
        for stage, skip in zip(self.bottom_up, coarse_first[-2::-1], strict=True):
            x, _ = stage(x, skip)
            refined.append(x)
        leads = [out(conv(y)) for out, conv, y in zip(self.outputs, self.lead, refined, strict=True)]
        aux = zip(self.aux_outputs, self.aux, before_adding[::-1], strict=False)
        return (*leads, *(out(conv(y)) for out, conv, y in aux))


def _stem(spec: ModelSpec, convs: Convs) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = [SpaceToDepth()] if spec.space_to_depth else []
    width = 12 if spec.space_to_depth else 3
    for out, stride in spec.stem:
        layers.append(convs(width, out, 3, stride))
        width = out
    return nn.Sequential(*layers), width
