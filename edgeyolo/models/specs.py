"""The networks by name; no torch here.

The eight of the family stand here, each in about ten lines. What the parts mean stands in `topology`; how yolov7x,
-e6 and -d6 follow from others by compound scaling (paper 3.2) in `scaling`; the baselines in `baselines`, the network
that comes with the package in `lite_topology`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from edgeyolo.errors import UsageError
from edgeyolo.models.baselines import make_baselines
from edgeyolo.models.csp_topology import CspSpec
from edgeyolo.models.lite_topology import make_lite
from edgeyolo.models.network_spec import Spec
from edgeyolo.models.topology import Activation, Anchors, Down, Elan, Form, ModelSpec, Stage, TopDown

__all__ = [
    "Activation",
    "Anchors",
    "CspSpec",
    "Elan",
    "Form",
    "ModelSpec",
    "Spec",
    "Stage",
    "TopDown",
    "baselines",
    "find",
    "get",
    "known",
    "names",
    "own",
    "with_activation",
]


def names() -> tuple[str, ...]:
    """The names of the eight networks, smallest first."""
    return tuple(spec.name for spec in _FAMILY)


def baselines() -> tuple[str, ...]:
    """The names of the paper's baselines, in the order of its tables."""
    return tuple(spec.name for spec in _BASELINES)


def own() -> tuple[str, ...]:
    """The names of the networks that no paper's table has."""
    return (_LITE.name,)


def known() -> tuple[str, ...]:
    """All names: the eight networks, the baselines, then those of our own."""
    return (*names(), *baselines(), *own())


def get(name: str) -> ModelSpec:
    """The spec of one of the eight networks.

    An unknown name is a UsageError that lists them.
    """
    for spec in _FAMILY:
        if spec.name == name:
            return spec
    raise UsageError(f"network {name!r} is not known; known are {', '.join(names())}")


def find(name: str) -> Spec:
    """The spec of any network, baselines and our own included.

    An unknown name is a UsageError that lists them.
    """
    for spec in (*_BASELINES, _LITE):
        if spec.name == name:
            return spec
    if name in names():
        return get(name)
    raise UsageError(f"network {name!r} is not known; known are {', '.join(known())}")


_S = TypeVar("_S", bound=Spec)


def with_activation(spec: _S, activation: Activation) -> _S:
    """The same network with another activation function.

    Such as "relu", which every device has.

    Weights carry over in shape but not in what they compute: the network is to be trained, or trained on.
    """
    if activation == spec.act:
        return spec
    plain = spec.name.removesuffix(_suffix(spec.act))
    return replace(spec, name=plain + _suffix(activation), act=activation)


def _suffix(activation: Activation) -> str:
    return "-" + activation.replace("_", "-")


def _anchors(*levels: tuple[int, ...]) -> Anchors:
    """Pairs from the flat rows in which anchors are usually written."""
    return tuple(
        tuple((float(w), float(h)) for w, h in zip(row[::2], row[1::2], strict=True)) for row in levels
    )


_ANCHORS_TINY = _anchors((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326))
_ANCHORS_V4_TINY = _anchors((23, 27, 37, 58, 81, 82), (81, 82, 135, 169, 344, 319))
_ANCHORS_P5 = _anchors((12, 16, 19, 36, 40, 28), (36, 75, 76, 55, 72, 146), (142, 110, 192, 243, 459, 401))
_ANCHORS_P6 = _anchors(
    (19, 27, 44, 40, 38, 94),
    (96, 68, 86, 152, 180, 137),
    (140, 301, 303, 264, 238, 542),
    (436, 615, 739, 380, 925, 792),
)


def _tiny(name: str, act: Activation) -> ModelSpec:
    def elan(width: int, out: int) -> Elan:
        return Elan(width, out, depth=2, stride=1)

    return ModelSpec(
        name,
        stem=((32, 2),),
        backbone=(
            Stage("conv", 64, elan(32, 64)),
            Stage("pool", 64, elan(64, 128)),
            Stage("pool", 128, elan(128, 256)),
            Stage("pool", 256, elan(256, 512)),
        ),
        spp=256,
        top_down=(TopDown(128, elan(64, 128)), TopDown(64, elan(32, 64))),
        bottom_up=(Stage("conv", 128, elan(64, 128)), Stage("conv", 256, elan(128, 256))),
        lead=(128, 256, 512),
        anchors=_ANCHORS_TINY,
        csp_spp=False,
        act=act,
    )


_YOLOV7 = ModelSpec(
    "yolov7",
    stem=((32, 1), (64, 2), (64, 1)),
    backbone=(
        Stage("conv", 128, Elan(64, 256)),
        Stage("mpconv", 256, Elan(128, 512)),
        Stage("mpconv", 512, Elan(256, 1024)),
        Stage("mpconv", 1024, Elan(256, 1024)),
    ),
    spp=512,
    top_down=(
        TopDown(256, Elan(256, 256, stride=1, chain=128)),
        TopDown(128, Elan(128, 128, stride=1, chain=64)),
    ),
    bottom_up=(
        Stage("mpconv", 256, Elan(256, 256, stride=1, chain=128)),
        Stage("mpconv", 512, Elan(512, 512, stride=1, chain=256)),
    ),
    lead=(256, 512, 1024),
    anchors=_ANCHORS_P5,
    rep=True,
)

_YOLOV7X = ModelSpec(
    "yolov7x",
    stem=((40, 1), (80, 2), (80, 1)),
    backbone=(
        Stage("conv", 160, Elan(64, 320, depth=6)),
        Stage("mpconv", 320, Elan(128, 640, depth=6)),
        Stage("mpconv", 640, Elan(256, 1280, depth=6)),
        Stage("mpconv", 1280, Elan(256, 1280, depth=6)),
    ),
    spp=640,
    top_down=(TopDown(320, Elan(256, 320, depth=6)), TopDown(160, Elan(128, 160, depth=6))),
    bottom_up=(Stage("mpconv", 320, Elan(256, 320, depth=6)), Stage("mpconv", 640, Elan(512, 640, depth=6))),
    lead=(320, 640, 1280),
    anchors=_ANCHORS_P5,
)


def _p6(name: str, *, width: int, depth: int, down: Down, aux: tuple[int, ...], twins: int = 1) -> ModelSpec:
    """The four-level networks.

    All but the blocks' inner widths is a multiple of `width`, the stem's.
    """

    def stage(step: Down, scale: int, inner: int) -> Stage:
        return Stage(step, scale * width, Elan(inner, scale * width, depth=depth, twins=twins))

    def neck(inner: int, scale: int) -> Elan:
        return Elan(inner, scale * width, depth=depth, stride=1, chain=inner // 2, twins=twins)

    return ModelSpec(
        name,
        stem=((width, 1),),
        backbone=tuple(
            stage(down, scale, inner) for scale, inner in ((2, 64), (4, 128), (8, 256), (12, 384), (16, 512))
        ),
        spp=8 * width,
        top_down=(
            TopDown(6 * width, neck(384, 6)),
            TopDown(4 * width, neck(256, 4)),
            TopDown(2 * width, neck(128, 2)),
        ),
        bottom_up=(
            Stage(down, 4 * width, neck(256, 4)),
            Stage(down, 6 * width, neck(384, 6)),
            Stage(down, 8 * width, neck(512, 8)),
        ),
        lead=(4 * width, 8 * width, 12 * width, 16 * width),
        anchors=_ANCHORS_P6,
        imgsz=1280,
        aux=aux,
        space_to_depth=True,
    )


_FAMILY = (
    _tiny("yolov7-tiny", "leaky_relu"),
    _tiny("yolov7-tiny-silu", "silu"),
    _YOLOV7,
    _YOLOV7X,
    _p6("yolov7-w6", width=64, depth=4, down="conv", aux=(320, 640, 960, 1280)),
    _p6("yolov7-e6", width=80, depth=6, down="downc", aux=(320, 640, 960, 1280)),
    _p6("yolov7-d6", width=96, depth=8, down="downc", aux=(384, 768, 1152, 1536)),
    _p6("yolov7-e6e", width=80, depth=6, down="downc", aux=(320, 640, 960, 1280), twins=2),
)
_LITE = make_lite(_ANCHORS_TINY)
_BASELINES = make_baselines(_ANCHORS_P5, _ANCHORS_P6, _ANCHORS_TINY, _ANCHORS_V4_TINY)
