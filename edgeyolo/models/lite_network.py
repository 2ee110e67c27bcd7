"""EfficientNet-Lite with a path aggregation network as a torch network."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from edgeyolo.models.csp_network import PanNeck
from edgeyolo.models.lite_topology import InvertedStage, LiteSpec
from edgeyolo.models.network import Network
from edgeyolo.models.topology import Form
from edgeyolo.models.units import Convs


class InvertedResidual(nn.Module):
    """One link of an `InvertedStage`.

    (N, c_in, H, W) -> (N, stage.out, H / stride, W / stride).
    """

    def __init__(self, c_in: int, stride: int, stage: InvertedStage, convs: Convs) -> None:
        super().__init__()
        inner = stage.expansion * c_in
        self.shortcut = stride == 1 and c_in == stage.out
        self.expand = convs(c_in, inner) if stage.expansion > 1 else None
        self.depthwise = convs(inner, inner, stage.kernel, stride, groups=inner)
        self.project = convs.linear(inner, stage.out)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = cast(Tensor, self.project(self.depthwise(y)))
        return x + y if self.shortcut else y


class LiteNetwork(Network):
    """An EfficientNet-Lite detector.

    Images in, raw head maps out, as with every `Network`.
    """

    spec: LiteSpec

    def __init__(self, spec: LiteSpec, classes: int, form: Form) -> None:
        super().__init__(spec, classes, form)
        convs, width = Convs(form, spec.act), spec.width
        self.stem = convs(3, width, 3, 2)
        self.backbone = nn.ModuleList()
        for stage in spec.backbone:
            links = (InvertedResidual(c, step, stage, convs) for c, step in stage.residuals(width))
            self.backbone.append(nn.Sequential(*links))
            width = stage.out
        self.neck = PanNeck([spec.backbone[place].out for place in spec.laterals], spec.neck, convs)
        self.add_outputs(spec.lead, implicit=False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(images)
        pyramid = []
        for place, stage in enumerate(self.backbone):
            x = stage(x)
            if place in self.spec.laterals:
                pyramid.append(x)
        return tuple(out(y) for out, y in zip(self.outputs, self.neck(pyramid), strict=True))
