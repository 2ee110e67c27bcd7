"""The convolutions of a baseline from its spec alone, without torch; see `layers`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeyolo.models.conv_layer import ConvLayer, Walk
from edgeyolo.models.csp_topology import CARDINALITY, Csp, CspSpec, CspStage, Fpn, Pan


class PanWalk(Walk):
    """The common part of the walks through networks of cross-stage partial blocks.

    Their neck is in it.
    """

    def cell(self, name: str, spec: Csp, stride: int) -> Iterator[ConvLayer]:
        groups = CARDINALITY if spec.cell == "resx" else 1
        for place, (kernel, c_in, c_out) in enumerate(spec.cell_convs):
            own = groups if kernel == 3 else 1
            yield self.conv(f"{name}.convs.{place}", c_in, c_out, stride, kernel=kernel, groups=own)

    def block(self, name: str, c_in: int, spec: Csp, stride: int) -> Iterator[ConvLayer]:
        c, chain = spec.width, f"{name}.chain" if spec.split != "none" else name
        for place in range(spec.depth):
            yield from self.cell(f"{chain}.{place}", spec, stride)
        if spec.split != "none":
            yield self.conv(f"{name}.enter", c_in, c, stride)
            yield self.conv(f"{name}.bypass", c if spec.split == "late" else c_in, c, stride)
            if spec.split == "half-closed":
                yield self.conv(f"{name}.close", c, c, stride)
            yield self.conv(f"{name}.transition", 2 * c, spec.out, stride)

    def stage(self, name: str, c_in: int, c_skip: int, spec: CspStage, stride: int) -> Iterator[ConvLayer]:
        yield from self.halving(f"{name}.down", spec.down, c_in, spec.channels, stride)
        after = stride if spec.down == "none" else stride * 2
        yield from self.block(f"{name}.block", spec.channels + c_skip, spec.block, after)

    def pan(self, widths: list[int], neck: Pan, stride: int) -> Iterator[ConvLayer]:
        yield from self.csp_pyramid("neck.spp", widths[-1], neck.spp, stride)
        coarse = [neck.spp, *(step.block.out for step in neck.top_down)]
        for place, step in enumerate(neck.top_down):
            name, c = f"neck.top_down.{place}", step.channels
            yield self.conv(f"{name}.reduce", coarse[place], c, stride)
            stride //= 2
            yield self.conv(f"{name}.lateral", widths[-2 - place], c, stride)
            yield from self.block(f"{name}.block", 2 * c, step.block, stride)
        yield self.conv("neck.finest", coarse[-1], neck.lead[0], stride, kernel=3)
        refined = [coarse[-1], *(stage.block.out for stage in neck.bottom_up)]
        for place, stage in enumerate(neck.bottom_up):
            name = f"neck.bottom_up.{place}"
            yield from self.stage(f"{name}.stage", refined[place], coarse[-2 - place], stage, stride)
            stride *= 2
            yield self.conv(f"{name}.lead", refined[place + 1], neck.lead[place + 1], stride, kernel=3)


@dataclass(frozen=True)
class CspWalk(PanWalk):
    """Walk through a network as `CspNetwork.__init__` builds it."""

    spec: CspSpec
    classes: int

    def layers(self) -> Iterator[ConvLayer]:
        """Every convolution, in the order of registration."""
        spec, stride = self.spec, self.spec.stem_stride
        yield from self.stem()
        widths = [spec.width, *(stage.block.out for stage in spec.backbone)]
        for place, stage in enumerate(spec.backbone):
            yield from self.stage(f"backbone.{place}", widths[place], 0, stage, stride)
            stride *= 1 if stage.down == "none" else 2
        neck = spec.neck
        yield from self.pan(widths, neck, stride) if isinstance(neck, Pan) else self.fpn(widths, neck, stride)
        channels = len(spec.anchors[0]) * (5 + self.classes)
        for place, (c, own) in enumerate(zip(spec.lead, spec.strides, strict=True)):
            yield self.conv(f"outputs.{place}", c, channels, own)

    def stem(self) -> Iterator[ConvLayer]:
        c, half = self.spec.width, self.spec.width // 2
        if self.spec.stem == "focus":
            yield self.conv("stem.1", 12, c, 2, kernel=3)
        elif self.spec.stem == "pooled":
            yield self.conv("stem.conv1", 3, half, 1, kernel=3, after=2)
            yield self.conv("stem.conv2", half, half, 2)
            yield self.conv("stem.strided", half, half, 2, kernel=3, after=4)
            yield self.conv("stem.transition", 2 * half, c, 4)
        else:
            yield self.conv("stem.0", 3, half, 1, kernel=3)
            yield self.conv("stem.1", half, c, 1, kernel=3, after=2)
            yield from self.cell("stem.2", Csp(c, 1, "none"), 2)

    def fpn(self, widths: list[int], neck: Fpn, stride: int) -> Iterator[ConvLayer]:
        coarser = (0, *neck.widths[:-1])
        for place, (coarse, skip, c) in enumerate(zip(coarser, widths[::-1], neck.widths, strict=False)):
            name, five = f"neck.coarse_first.{place}", f"neck.coarse_first.{place}.five"
            if coarse:
                yield self.conv(f"{name}.reduce", coarse, c, stride)
                stride //= 2
            yield self.conv(f"{five}.0", skip + (c if coarse else 0), c, stride)
            yield self.conv(f"{five}.1", c, 2 * c, stride, kernel=3)
            if neck.spp and not coarse:
                yield self.conv(f"{five}.2.enter", 2 * c, c, stride)
                yield self.conv(f"{five}.2.mix", 4 * c, c, stride)
            else:
                yield self.conv(f"{five}.2", 2 * c, c, stride)
            yield self.conv(f"{five}.3", c, 2 * c, stride, kernel=3)
            yield self.conv(f"{five}.4", 2 * c, c, stride)
            yield self.conv(f"{name}.lead", c, 2 * c, stride, kernel=3)
