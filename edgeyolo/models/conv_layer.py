"""One convolution as numbers, and what the walks over specs share; no torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


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
    groups: int = 1

    @property
    def weights(self) -> int:
        """Learned values, biases included."""
        return self.c_out * (self.c_in // self.groups * self.kernel**2 + 1)

    @property
    def flops(self) -> int:
        """Operations, two per multiply-add; the bias is not counted, as is usual."""
        height, width = self.size_out
        return 2 * (self.c_in // self.groups) * self.c_out * self.kernel**2 * height * width

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


@dataclass(frozen=True)
class Walk:
    """The common part of the walks over specs of either topology.

    Strides are pixels of the image per cell.
    """

    size: tuple[int, int]

    def conv(
        self,
        name: str,
        c_in: int,
        c_out: int,
        stride: int,
        *,
        kernel: int = 1,
        after: int = 0,
        groups: int = 1,
    ) -> ConvLayer:
        """A convolution on a map of `stride`.

        It gives a map of `after`, by default the same stride.
        """
        height, width = self.size
        size_out = height // (after or stride), width // (after or stride)
        return ConvLayer(name, c_in, c_out, kernel, (height // stride, width // stride), size_out, groups)

    def halving(self, name: str, kind: str, c_in: int, c_out: int, stride: int) -> Iterator[ConvLayer]:
        """The convolutions that halve the resolution, see `topology.Stage`."""
        half, after = c_out // 2, stride * 2
        if kind == "conv":
            yield self.conv(f"{name}.conv", c_in, c_out, stride, kernel=3, after=after)
        elif kind == "mpconv":
            yield self.conv(f"{name}.pooled", c_in, half, after)
            yield self.conv(f"{name}.reduce", c_in, half, stride)
            yield self.conv(f"{name}.strided", half, half, stride, kernel=3, after=after)
        elif kind == "downc":
            yield self.conv(f"{name}.reduce", c_in, c_in, stride)
            yield self.conv(f"{name}.strided", c_in, half, stride, kernel=3, after=after)
            yield self.conv(f"{name}.pooled", c_in, half, after)

    def csp_pyramid(self, name: str, c_in: int, c: int, stride: int) -> Iterator[ConvLayer]:
        """SPPCSPC."""
        for part, width, kernel in (
            ("conv1", c_in, 1), ("bypass", c_in, 1), ("conv3", c, 3), ("conv4", c, 1), ("conv5", 4 * c, 1),
            ("conv6", c, 3), ("conv7", 2 * c, 1),
        ):  # fmt: skip
            yield self.conv(f"{name}.{part}", width, c, stride, kernel=kernel)
