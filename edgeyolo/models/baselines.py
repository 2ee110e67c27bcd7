"""The paper's baselines (Tables 1 and 2) as specs of a few lines; no torch here.

Of the baselines those that the paper's authors made: YOLOv3, YOLOv4-CSP, YOLOR and the cross-stage partial ResNets.
What the parts mean stands in `csp_topology`.
"""

from __future__ import annotations

from edgeyolo.models.csp_topology import Cell, Csp, CspSpec, CspStage, CspStep, Fpn, Halving, Pan
from edgeyolo.models.tiny_topology import TinySpec
from edgeyolo.models.topology import Anchors


def make_baselines(p5: Anchors, p6: Anchors, v3: Anchors, tiny: Anchors) -> tuple[CspSpec | TinySpec, ...]:
    """The baselines in the order of the tables.

    Given are the anchors of three levels, of four, YOLOv3's and YOLOv4-tiny's.
    """
    return (
        TinySpec("yolov4-tiny", tiny),
        TinySpec("yolov4-tiny-3l", p5, imgsz=320),
        _yolov3("yolov3", v3),
        _yolov3("yolov3-spp", v3, spp=True),
        _dark_csp("yolov4-csp", p5, width=32, depths=(2, 8, 8, 4), implicit=False),
        _dark_csp("yolor-csp", p5, width=32, depths=(2, 8, 8, 4)),
        _dark_csp("yolor-csp-x", p5, width=40, depths=(3, 11, 11, 5)),
        _res_csp("r50-csp", p5, "res"),
        _res_csp("x50-csp", p5, "resx"),
        _focus("yolor-p6", p6, (64, 128, 256, 384, 512, 640), (3, 7, 7, 3, 3)),
        _focus("yolor-w6", p6, (64, 128, 256, 512, 768, 1024), (3, 7, 7, 3, 3)),
        _focus("yolor-e6", p6, (80, 160, 320, 640, 960, 1280), (3, 7, 7, 3, 3), down="downc"),
        _focus("yolor-d6", p6, (80, 160, 320, 640, 960, 1280), (3, 15, 15, 7, 7), down="downc"),
    )


def _pan(widths: tuple[int, ...], depth: int, *, cell: Cell = "dark", down: Halving = "conv") -> Pan:
    """A neck over maps of `widths`, finest first.

    Each level has half its width, its output the whole.
    """
    halves = [width // 2 for width in widths]

    def block(out: int) -> Csp:
        return Csp(out, depth, "late", cell, shortcut=cell != "dark")

    return Pan(
        spp=halves[-1],
        top_down=tuple(CspStep(half, block(half)) for half in halves[-2::-1]),
        bottom_up=tuple(CspStage(down, half, block(half)) for half in halves[1:]),
        lead=widths,
    )


def _dark_csp(
    name: str, anchors: Anchors, *, width: int, depths: tuple[int, ...], implicit: bool = True
) -> CspSpec:
    """YOLOv4-CSP (arXiv:2011.08036): a dark stem, four stages, three levels."""
    widths = [4 * width << place for place in range(4)]
    stages = (
        CspStage("conv", c, Csp(c, depth, "half-closed")) for c, depth in zip(widths, depths, strict=True)
    )
    neck = _pan(tuple(widths[1:]), depths[0])
    return CspSpec(name, "dark", 2 * width, tuple(stages), neck, anchors, implicit=implicit)


def _res_csp(name: str, anchors: Anchors, cell: Cell) -> CspSpec:
    """A cross-stage partial ResNet-50 or ResNeXt-50 (arXiv:1911.11929).

    Its neck is YOLOv4-CSP's.
    """
    downs: tuple[Halving, ...] = ("none", "conv", "conv", "conv")
    stages = (
        CspStage(down, c, Csp(c, depth, "half-closed", cell))
        for down, c, depth in zip(downs, (128, 256, 512, 1024), (3, 4, 6, 3), strict=True)
    )
    return CspSpec(name, "pooled", 128, tuple(stages), _pan((256, 512, 1024), 2, cell=cell), anchors)


def _focus(
    name: str, anchors: Anchors, widths: tuple[int, ...], depths: tuple[int, ...], *, down: Halving = "conv"
) -> CspSpec:
    """YOLOR of four levels (arXiv:2105.04206): space to depth, then five stages."""
    stages = (CspStage(down, c, Csp(c, depth, "half")) for c, depth in zip(widths[1:], depths, strict=True))
    neck = _pan(widths[2:], 3, down=down)
    return CspSpec(name, "focus", widths[0], tuple(stages), neck, anchors, imgsz=1280)


def _yolov3(name: str, anchors: Anchors, *, spp: bool = False) -> CspSpec:
    """YOLOv3 (arXiv:1804.02767): Darknet-53 and a feature pyramid."""
    stages = (
        CspStage("conv", c, Csp(c, depth, "none")) for c, depth in ((128, 2), (256, 8), (512, 8), (1024, 4))
    )
    return CspSpec(name, "dark", 64, tuple(stages), Fpn((512, 256, 128), spp), anchors, implicit=False)
