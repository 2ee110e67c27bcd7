"""Parameters and FLOPs of a network, counted on shapes alone.

It makes the summary behind `edgeyolo models`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from edgeyolo.models import specs
from edgeyolo.models.build import build
from edgeyolo.models.heads import ImplicitOutput
from edgeyolo.models.layers import conv_layers
from edgeyolo.models.network import Network, conv_units
from edgeyolo.models.paper import PaperFigures, figures


@dataclass(frozen=True)
class Description:
    """One network beside what the paper says of it, if it does.

    `params` and `gflops` of the re-parameterized network.

    `params_training` counts the training form, auxiliary heads included. `gflops` is for one image of
    `imgsz` x `imgsz`, the paper's size. 80 classes.
    """

    name: str
    params: int
    params_training: int
    gflops: float
    imgsz: int
    strides: tuple[int, ...]
    paper: PaperFigures | None

    def to_json(self) -> dict[str, Any]:
        """The description as plain values for a JSON file."""
        return asdict(self)


def describe(name: str) -> Description:
    """Count one network.

    Takes some hundredths of a second and no memory.
    """
    spec = specs.find(name)
    plain, paper = build(spec, form="plain", device="meta"), figures(name)
    imgsz = paper.imgsz if paper else spec.imgsz
    return Description(
        name,
        params=parameters(plain),
        params_training=parameters(build(spec, device="meta")),
        gflops=gflops(plain, (imgsz, imgsz)),
        imgsz=imgsz,
        strides=spec.strides,
        paper=paper,
    )


def count(spec: specs.Spec, classes: int, size: tuple[int, int]) -> tuple[int, float]:
    """Parameters and GFLOPs of a re-parameterized network.

    For one image of `size` = (height, width).
    """
    plain = build(spec, classes=classes, form="plain", device="meta")
    return parameters(plain), gflops(plain, size)


def parameters(network: nn.Module) -> int:
    """The number of learned values, as the network stands."""
    return sum(parameter.numel() for parameter in network.parameters())


def fused_parameters(network: Network) -> int:
    """The parameters once batch norms and RepConv are folded.

    Implicit vectors and auxiliary heads stay.
    """
    total = 0
    for unit in conv_units(network).values():
        total += unit.kernel.weight.numel() + unit.kernel.out_channels
        if isinstance(unit, ImplicitOutput):
            total += unit.offset.numel() + unit.scale.numel()
    return total


def gflops(network: Network, size: tuple[int, int]) -> float:
    """Billions of operations for one image, two per multiply-add.

    `size` is (height, width).

    Convolutions are counted as folded (RepConv as one 3x3); biases, activations and pools are not. Nothing is
    run: each convolution is counted at the resolution it works at. UsageError for a size that does not fit.
    """
    training = network.form == "training"
    layers = conv_layers(network.spec, network.classes, size, auxiliary=training)
    return sum(layer.flops for layer in layers) / 1e9
