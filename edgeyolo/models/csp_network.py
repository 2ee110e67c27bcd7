"""Torch networks of the baselines' specs."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from edgeyolo.models.blocks import CspPyramid
from edgeyolo.models.csp_blocks import CspStageBlock, CspStepBlock, FpnLevel, make_stem
from edgeyolo.models.csp_topology import CspSpec, Fpn, Pan
from edgeyolo.models.network import Network
from edgeyolo.models.topology import Form
from edgeyolo.models.units import Convs


class CspNetwork(Network):
    """A baseline: images in, raw head maps out, as with every `Network`."""

    def __init__(self, spec: CspSpec, classes: int, form: Form) -> None:
        super().__init__(spec, classes, form)
        convs = Convs(form, spec.act)
        self.stem = make_stem(spec.stem, spec.width, convs)
        widths = [spec.width, *(stage.block.out for stage in spec.backbone)]
        self.backbone = nn.ModuleList(
            CspStageBlock(c_in, 0, stage, convs) for c_in, stage in zip(widths, spec.backbone, strict=False)
        )
        neck = spec.neck
        self.neck: PanNeck | FpnNeck
        self.neck = PanNeck(widths, neck, convs) if isinstance(neck, Pan) else FpnNeck(widths, neck, convs)
        self.add_outputs(spec.lead, implicit=spec.implicit)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(images)
        pyramid = []
        for stage in self.backbone:
            x = stage(x)
            pyramid.append(x)
        return tuple(out(y) for out, y in zip(self.outputs, self.neck(pyramid), strict=True))


class PanNeck(nn.Module):
    """A path aggregation network with cross-stage partial blocks.

    Takes the backbone's maps and gives one a level, finest first. `widths` are the channels of the backbone's
    maps, finest first.
    """

    def __init__(self, widths: list[int], spec: Pan, convs: Convs) -> None:
        super().__init__()
        self.spp = CspPyramid(widths[-1], spec.spp, convs)
        coarse_first = [spec.spp, *(step.block.out for step in spec.top_down)]
        self.top_down = nn.ModuleList(
            CspStepBlock(c_in, c_skip, step, convs)
            for c_in, c_skip, step in zip(coarse_first, widths[-2::-1], spec.top_down, strict=False)
        )
        self.finest = convs(coarse_first[-1], spec.lead[0], 3)
        inputs = [coarse_first[-1], *(stage.block.out for stage in spec.bottom_up)]
        self.bottom_up = nn.ModuleList(
            PanStage(CspStageBlock(c_in, c_skip, stage, convs), convs(stage.block.out, lead, 3))
            for c_in, c_skip, stage, lead in zip(
                inputs, coarse_first[-2::-1], spec.bottom_up, spec.lead[1:], strict=False
            )
        )

    def forward(self, pyramid: list[Tensor]) -> list[Tensor]:
        x = self.spp(pyramid[-1])
        coarse_first = [x]
        for step, skip in zip(self.top_down, pyramid[-2::-1], strict=False):
            x = step(x, skip)
            coarse_first.append(x)
        leads = [self.finest(x)]
        for stage, skip in zip(self.bottom_up, coarse_first[-2::-1], strict=True):
            x, lead = stage(x, skip)
            leads.append(lead)
        return leads


class PanStage(nn.Module):
    """A stage to a coarser map, and the 3x3 convolution before that level's output."""

    def __init__(self, stage: CspStageBlock, lead: nn.Module) -> None:
        super().__init__()
        self.stage = stage
        self.lead = lead

    def forward(self, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        y = self.stage(x, skip)
        return y, cast(Tensor, self.lead(y))


class FpnNeck(nn.Module):
    """YOLOv3's feature pyramid: the backbone's maps -> one a level, finest first."""

    def __init__(self, widths: list[int], spec: Fpn, convs: Convs) -> None:
        super().__init__()
        coarser = (0, *spec.widths[:-1])
        self.coarse_first = nn.ModuleList(
            FpnLevel(c_coarse, c_skip, c, convs, spp=spec.spp and not c_coarse)
            for c_coarse, c_skip, c in zip(coarser, widths[::-1], spec.widths, strict=False)
        )

    def forward(self, pyramid: list[Tensor]) -> list[Tensor]:
        y, leads = None, []
        for level, skip in zip(self.coarse_first, pyramid[::-1], strict=False):
            y, lead = level(skip, y)
            leads.append(lead)
        return leads[::-1]
