"""The convolutions of a network from its spec alone, without torch.

Operations, weights and the maps they touch.

The names are the module paths of `network.Network`, so a layer can be found there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeyolo.errors import UsageError
from edgeyolo.models.conv_layer import ConvLayer, Walk
from edgeyolo.models.csp_layers import CspWalk
from edgeyolo.models.csp_topology import CspSpec
from edgeyolo.models.lite_layers import LiteWalk
from edgeyolo.models.lite_topology import LiteSpec
from edgeyolo.models.network_spec import Spec
from edgeyolo.models.tiny_topology import TinySpec, TinyWalk
from edgeyolo.models.topology import Elan, ModelSpec, Stage

__all__ = ["ConvLayer", "conv_layers"]


def conv_layers(
    spec: Spec, classes: int, size: tuple[int, int], *, auxiliary: bool = False
) -> tuple[ConvLayer, ...]:
    """Every convolution of the plain form, in the order of registration.

    For an image of `size` = (height, width). auxiliary: those of the auxiliary heads too, which the training form has.
    """
    if any(side < 1 or side % spec.strides[-1] for side in size):
        raise UsageError(f"size {size}: expected multiples of the largest stride, {spec.strides[-1]}")
    if isinstance(spec, CspSpec):
        return tuple(CspWalk(size, spec, classes).layers())
    if isinstance(spec, LiteSpec):
        return tuple(LiteWalk(size, spec, classes).layers())
    if isinstance(spec, TinySpec):
        return tuple(TinyWalk(size, spec, classes).layers())
    return tuple(_Walk(size, spec, classes, spec.aux if auxiliary else ()).layers())


@dataclass(frozen=True)
class _Walk(Walk):
    """Walk through a network as `ElanNetwork.__init__` builds it."""

    spec: ModelSpec
    classes: int
    aux: tuple[int, ...]

    def layers(self) -> Iterator[ConvLayer]:
        spec = self.spec
        stride, width = (2, 12) if spec.space_to_depth else (1, 3)
        for place, (out, step) in enumerate(spec.stem, start=spec.space_to_depth):
            yield self.conv(f"stem.{place}", width, out, stride, kernel=3, after=stride * step)
            stride, width = stride * step, out
        for place, stage in enumerate(spec.backbone):
            yield from self.stage(f"backbone.{place}", width, 0, stage, stride)
            stride, width = stride * 2, stage.elan.out
        yield from self.pyramid(width, stride)
        pyramid = [stage.elan.out for stage in spec.backbone]
        coarse = [spec.spp, *(step.elan.out for step in spec.top_down)]
        for place, down in enumerate(spec.top_down):
            name, c = f"top_down.{place}", down.channels
            yield self.conv(f"{name}.reduce", coarse[place], c, stride)
            stride //= 2
            yield self.conv(f"{name}.lateral", pyramid[-2 - place], c, stride)
            yield from self.elan(f"{name}.elan", 2 * c, down.elan, stride)
        refined = [coarse[-1], *(stage.elan.out for stage in spec.bottom_up)]
        for place, stage in enumerate(spec.bottom_up):
            yield from self.stage(f"bottom_up.{place}", refined[place], coarse[-2 - place], stage, stride)
            stride *= 2
        for place, (c_in, c, own) in enumerate(zip(refined, spec.lead, spec.strides, strict=True)):
            yield self.conv(f"lead.{place}", c_in, c, own, kernel=3)
        for place, (c_in, c, own) in enumerate(zip(coarse[::-1], self.aux, spec.strides, strict=False)):
            yield self.conv(f"aux.{place}", c_in, c, own, kernel=3)
        channels = len(spec.anchors[0]) * (5 + self.classes)
        for name, widths in (("outputs", spec.lead), ("aux_outputs", self.aux)):
            for place, (c, own) in enumerate(zip(widths, spec.strides, strict=False)):
                yield self.conv(f"{name}.{place}", c, channels, own)

    def stage(self, name: str, c_in: int, c_skip: int, stage: Stage, stride: int) -> Iterator[ConvLayer]:
        after = stride * 2
        yield from self.halving(f"{name}.down", stage.down, c_in, stage.channels, stride)
        yield from self.elan(f"{name}.elan", stage.channels + c_skip, stage.elan, after)

    def elan(self, name: str, c_in: int, elan: Elan, stride: int) -> Iterator[ConvLayer]:
        groups = elan.groups
        for twin in range(elan.twins):
            prefix, width = f"{name}.twins.{twin}", groups * elan.width
            yield self.conv(f"{prefix}.bypass", c_in, width, stride)
            yield self.conv(f"{prefix}.enter", c_in, width, stride)
            for place in range(elan.depth):
                chain, c = f"{prefix}.chain.{place}", groups * elan.chain_width
                yield self.conv(chain, width, c, stride, kernel=3, groups=groups)
                width = c
            inner, out = groups * elan.concatenated, groups * elan.out
            yield self.conv(f"{prefix}.transition", inner, out, stride, groups=groups)

    def pyramid(self, c_in: int, stride: int) -> Iterator[ConvLayer]:
        c = self.spec.spp
        if self.spec.csp_spp:
            yield from self.csp_pyramid("spp", c_in, c, stride)
            return
        for name, width in (("bypass", c_in), ("enter", c_in), ("mix", 4 * c), ("transition", 2 * c)):
            yield self.conv(f"spp.{name}", width, c, stride)
