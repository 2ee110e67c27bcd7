"""The convolutions of an EfficientNet-Lite detector from its spec, without torch.

See `layers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeyolo.models.conv_layer import ConvLayer
from edgeyolo.models.csp_layers import PanWalk
from edgeyolo.models.lite_topology import STEM_STRIDE, InvertedStage, LiteSpec


@dataclass(frozen=True)
class LiteWalk(PanWalk):
    """Walk through a network as `LiteNetwork.__init__` builds it."""

    spec: LiteSpec
    classes: int

    def layers(self) -> Iterator[ConvLayer]:
        """Every convolution, in the order of registration."""
        spec, stride, width = self.spec, STEM_STRIDE, self.spec.width
        yield self.conv("stem", 3, width, 1, kernel=3, after=stride)
        for place, stage in enumerate(spec.backbone):
            yield from self.inverted(f"backbone.{place}", width, stage, stride)
            stride, width = stride * stage.stride, stage.out
        yield from self.pan([spec.backbone[place].out for place in spec.laterals], spec.neck, stride)
        channels = len(spec.anchors[0]) * (5 + self.classes)
        for place, (c, own) in enumerate(zip(spec.lead, spec.strides, strict=True)):
            yield self.conv(f"outputs.{place}", c, channels, own)

    def inverted(self, name: str, c_in: int, stage: InvertedStage, stride: int) -> Iterator[ConvLayer]:
        """A chain of inverted residuals."""
        for place, (c, step) in enumerate(stage.residuals(c_in)):
            own, inner, after = f"{name}.{place}", stage.expansion * c, stride * step
            if stage.expansion > 1:
                yield self.conv(f"{own}.expand", c, inner, stride)
            yield self.conv(
                f"{own}.depthwise", inner, inner, stride, kernel=stage.kernel, after=after, groups=inner
            )
            yield self.conv(f"{own}.project", inner, stage.out, after)
            stride = after
