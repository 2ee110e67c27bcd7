"""Equalization of channels across layers.

Where the function between two layers is positively homogeneous, f(s x) = s f(x) for s > 0, a channel can be made
smaller in the one and larger in the other without any change to what the network computes (Nagel et al., "Data-Free
Quantization through Weight Equalization and Bias Correction", 2019, section 4.1). Channels of much the same size share
one scale with less loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeyolo_calib.onnx_graph import Graph
from edgeyolo_calib.refine.channels import Channel, Flow

if TYPE_CHECKING:
    import onnx

Weights = dict[str, NDArray[np.float32]]

MOST = 32.0
"""Largest factor between a channel's change and the median of its convolution: dead channels would ask for any."""


def peaks(maps: Iterable[Mapping[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float64]]:
    """Mean over the images of each channel's largest absolute value.

    `maps` are tensors (N, C, H, W) by name, a batch at a time.
    """
    sums: dict[str, NDArray[np.float64]] = {}
    images = 0
    for each in maps:
        images += len(next(iter(each.values())))
        for name, values in each.items():
            found = np.abs(values).max(axis=(2, 3)).sum(axis=0, dtype=np.float64)
            sums[name] = sums.get(name, 0.0) + found
    return {name: total / images for name, total in sums.items()}


def equalized(
    graph: Graph, channels: Flow, peak: Mapping[str, NDArray[np.float64]], *, strength: float = 0.5
) -> Weights:
    """Weights and biases with channels of more even size.

    They are by initializer, and the network computes the same.

    A channel is divided by peak ** strength * weight ** (strength - 1): its peak in activations, and the largest
    weight that any convolution takes it with, relative to that convolution's largest. With a strength of 1 all channels
    have one peak afterwards, with 0 all weights are as large; 0.5 lies in the middle.

    Args:
        graph: the plain network.
        channels: what `channels.flow` says of it.
        peak: (C,) of every convolution's output; see `peaks`.
        strength: 0 to 1.
    """
    convs = {node.output[0]: node for node in graph.nodes if node.op_type == "Conv"}
    held: Weights = {
        name: graph.array(name).copy() for node in convs.values() for name in node.input[1:] if name
    }
    factor = _factors(channels, convs, held, peak, strength)
    for output, node in convs.items():
        weight = held[node.input[1]]
        for number in range(len(weight)):
            if divisor := factor.get((output, number)):
                for name in node.input[1:]:
                    held[name][number] /= divisor
        for number, channel in enumerate(channels.taken[output]):
            if channel in factor:
                weight[:, number] *= factor[channel]
    return held


def _factors(
    channels: Flow, convs: Mapping[str, onnx.NodeProto], held: Weights, peak: Mapping[str, NDArray[np.float64]],
    strength: float,
) -> dict[Channel, float]:  # fmt: skip
    """Divisor of each scalable channel."""
    weights: dict[Channel, float] = {}
    for output, taken in channels.taken.items():
        weight = held[convs[output].input[1]]
        largest = np.abs(weight).max()
        for number, channel in enumerate(taken):
            if channel in channels.scalable:
                found = float(np.abs(weight[:, number]).max() / largest) if largest else 0.0
                weights[channel] = max(found, weights.get(channel, 0.0))
    wanted: dict[str, dict[Channel, float]] = {}
    for channel, taken_with in weights.items():
        size = float(peak[channel[0]][channel[1]])
        if size > 0 and taken_with > 0:
            wanted.setdefault(channel[0], {})[channel] = size**strength * taken_with ** (strength - 1)
    return {
        channel: float(
            np.clip(each, np.median([*found.values()]) / MOST, np.median([*found.values()]) * MOST)
        )
        for found in wanted.values()
        for channel, each in found.items()
    }
