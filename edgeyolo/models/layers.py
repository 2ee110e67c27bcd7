"""The convolutions of a network from its spec alone, without torch.

Operations, weights and the maps they touch.

The names are the module paths of `network.Network`, so a layer can be found there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeyolo.errors import UsageError
from edgeyolo.models.topology import Elan, ModelSpec, Stage


@dataclass(frozen=True)
class ConvLayer:
    """One convolution of the re-parameterized network, with bias, for one image.

    `size_in` and `size_out` are (height, width) of its maps, in cells.
    """

    name: str
    c_in: int
    c_out: int
    kernel: int
    size_in: tuple[int, int]
    size_out: tuple[int, int]

    @property
    def weights(self) -> int:
        """Learned values, biases included."""
        return self.c_out * (self.c_in * self.kernel**2 + 1)

    @property
    def flops(self) -> int:
        """Operations, two per multiply-add; the bias is not counted, as is usual."""
        height, width = self.size_out
        return 2 * self.c_in * self.c_out * self.kernel**2 * height * width

    @property
    def least_flops(self) -> float:
        """The fewest multiply-adds known for it.

        3x3 at stride 1 by Winograd's F(4x4, 3x3) takes a quarter.
        """
        return self.flops / (4 if self.kernel == 3 and self.size_in == self.size_out else 1)

    @property
    def values_in(self) -> int:
        """Values of the map it reads."""
        return self.c_in * self.size_in[0] * self.size_in[1]

    @property
    def values_out(self) -> int:
        """Values of the map it writes."""
        return self.c_out * self.size_out[0] * self.size_out[1]


def conv_layers(spec: ModelSpec, classes: int, size: tuple[int, int]) -> tuple[ConvLayer, ...]:
    """Every convolution of the plain form, in the order of registration.

    For an image of `size` = (height, width).
    """
    if any(side < 1 or side % spec.strides[-1] for side in size):
        raise UsageError(f"size {size}: expected multiples of the largest stride, {spec.strides[-1]}")
    return tuple(_Walk(spec, classes, size).layers())


@dataclass(frozen=True)
class _Walk:
    """Walk through a network as `Network.__init__` builds it.

    Strides are pixels of the image per cell.
    """

    spec: ModelSpec
    classes: int
    size: tuple[int, int]

    def conv(
        self, name: str, c_in: int, c_out: int, stride: int, *, kernel: int = 1, after: int = 0
    ) -> ConvLayer:
        """Add a convolution on a map of `stride`.

        It gives a map of `after`, by default the same stride.
        """
        height, width = self.size
        size_out = height // (after or stride), width // (after or stride)
        return ConvLayer(name, c_in, c_out, kernel, (height // stride, width // stride), size_out)

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
        channels = len(spec.anchors[0]) * (5 + self.classes)
        for place, (c, own) in enumerate(zip(spec.lead, spec.strides, strict=True)):
            yield self.conv(f"outputs.{place}", c, channels, own)

    def stage(self, name: str, c_in: int, c_skip: int, stage: Stage, stride: int) -> Iterator[ConvLayer]:
        half = stage.channels // 2
        down, after = f"{name}.down", stride * 2
        if stage.down == "conv":
            yield self.conv(f"{down}.conv", c_in, stage.channels, stride, kernel=3, after=after)
        elif stage.down == "mpconv":
            yield self.conv(f"{down}.pooled", c_in, half, after)
            yield self.conv(f"{down}.reduce", c_in, half, stride)
            yield self.conv(f"{down}.strided", half, half, stride, kernel=3, after=after)
        elif stage.down == "downc":
            yield self.conv(f"{down}.reduce", c_in, c_in, stride)
            yield self.conv(f"{down}.strided", c_in, half, stride, kernel=3, after=after)
            yield self.conv(f"{down}.pooled", c_in, half, after)
        planned = name.startswith("backbone") and self.spec.tried.endswith("csp")
        block = self.csp if planned else self.elan
        yield from block(f"{name}.elan", stage.channels + c_skip, stage.elan, after)

    def csp(self, name: str, c_in: int, elan: Elan, stride: int) -> Iterator[ConvLayer]:
        """Convolutions of `planned.CspChain`, Table 5's replacement of an ELAN."""
        kernels = (3, 1) if "reversed" in self.spec.tried else (1, 3)
        width = elan.out // 2
        for twin in range(elan.twins):
            prefix = f"{name}.twins.{twin}"
            yield self.conv(f"{prefix}.bypass", c_in, width, stride)
            yield self.conv(f"{prefix}.enter", c_in, width, stride)
            for block in range(max(elan.depth // 2, 1)):
                for place, kernel in enumerate(kernels):
                    unit = f"{prefix}.blocks.{block}.units.{place}"
                    yield self.conv(unit, width, width, stride, kernel=kernel)
            yield self.conv(f"{prefix}.leave", width, width, stride)
            yield self.conv(f"{prefix}.transition", 2 * width, elan.out, stride)

    def elan(self, name: str, c_in: int, elan: Elan, stride: int) -> Iterator[ConvLayer]:
        for twin in range(elan.twins):
            prefix, width = f"{name}.twins.{twin}", elan.width
            yield self.conv(f"{prefix}.bypass", c_in, width, stride)
            yield self.conv(f"{prefix}.enter", c_in, width, stride)
            for place in range(elan.depth):
                yield self.conv(f"{prefix}.chain.{place}", width, elan.chain_width, stride, kernel=3)
                width = elan.chain_width
            yield self.conv(f"{prefix}.transition", elan.concatenated, elan.out, stride)

    def pyramid(self, c_in: int, stride: int) -> Iterator[ConvLayer]:
        c = self.spec.spp
        csp = (("conv1", c_in, 1), ("bypass", c_in, 1), ("conv3", c, 3), ("conv4", c, 1), ("conv5", 4 * c, 1),
               ("conv6", c, 3), ("conv7", 2 * c, 1))  # fmt: skip
        tiny = (("bypass", c_in, 1), ("enter", c_in, 1), ("mix", 4 * c, 1), ("transition", 2 * c, 1))
        for name, width, kernel in csp if self.spec.csp_spp else tiny:
            yield self.conv(f"spp.{name}", width, c, stride, kernel=kernel)
