"""Parameters and FLOPs of a network, counted on shapes alone."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from edgeyolo.errors import UsageError
from edgeyolo.models import specs
from edgeyolo.models.build import build
from edgeyolo.models.counted import Description
from edgeyolo.models.heads import ImplicitOutput
from edgeyolo.models.network import Network, conv_units
from edgeyolo.models.paper import figures
from edgeyolo.models.units import ConvUnit


def describe(name: str) -> Description:
    """Count one of the eight networks.

    Takes some hundredths of a second and no memory.
    """
    spec = specs.get(name)
    plain, paper = build(spec, form="plain", device="meta"), figures(name)
    return Description(
        name,
        params=parameters(plain),
        params_training=parameters(build(spec, device="meta")),
        gflops=gflops(plain, (paper.imgsz, paper.imgsz)),
        imgsz=paper.imgsz,
        strides=spec.strides,
        paper=paper,
    )


def count(spec: specs.ModelSpec, classes: int, size: tuple[int, int]) -> tuple[int, float]:
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
    run: each convolution is counted at the resolution it works at.
    """
    height, width = size
    if any(side < 1 or side % network.strides[-1] for side in size):
        raise UsageError(f"size {size}: expected multiples of the largest stride, {network.strides[-1]}")
    return (
        sum(
            2 * unit.kernel.weight.numel() * (height // stride) * (width // stride)
            for unit, stride in _output_strides(network)
        )
        / 1e9
    )


def _output_strides(network: Network) -> Iterator[tuple[ConvUnit, int]]:
    """Every convolution with the stride, in pixels of the image, of the map it gives."""
    spec = network.spec
    stride = 2 if spec.space_to_depth else 1
    for unit in conv_units(network.stem).values():
        stride *= unit.kernel.stride[0]
        yield unit, stride
    for stage in network.backbone:
        yield from _block_strides(stage, stride, stride * 2)
        stride *= 2
    yield from _block_strides(network.spp, stride, stride)
    for step in network.top_down:
        yield from _block_strides(step, stride, stride // 2)
        stride //= 2
    for stage in network.bottom_up:
        yield from _block_strides(stage, stride, stride * 2)
        stride *= 2
    for level in (network.lead, network.outputs, network.aux, network.aux_outputs):
        for module, own in zip(level, network.strides, strict=False):
            yield from _block_strides(module, own, own)


def _block_strides(block: nn.Module, before: int, after: int) -> Iterator[tuple[ConvUnit, int]]:
    """Convolutions of a block with the strides of their inputs.

    In a block that changes the resolution, only its `reduce` convolution works at that of its input.
    """
    for name, unit in conv_units(block).items():
        yield unit, before if name.endswith("reduce") else after
