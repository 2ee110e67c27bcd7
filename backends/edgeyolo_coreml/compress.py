"""Weights of three precisions. Activations are float16; the engine turns the weights back into it on the way in.

The network's weights are rounded first, to levels that the file holds exactly (`rounding`); coremltools then only
writes them in the smaller form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeyolo_coreml.palette import BITS
from edgeyolo_coreml.rounding import to_half, to_int8, to_palette
from edgeyolo_coreml.toolkit import coremltools, number_names_anew, quiet

# The smallest tensors, which together hold this share of the weights, stay float16: they are the first layers and the
# outputs, where an error costs most (largest error of a score with 6 bits: 0.11 -> 0.06), and cost a fiftieth more.
KEPT = 0.02

ROUND: Mapping[str, Callable[[NDArray[Any]], NDArray[np.float32]]] = MappingProxyType(
    {"fp16": to_half, "int8": to_int8, "w6": to_palette}
)


@torch.no_grad()
def round_weights(network: nn.Module, precision: str) -> None:
    """Move the convolution weights of `network` onto levels of `precision`, the smallest tensors onto float16."""
    least = smallest_compressed(network)
    for unit in _convolutions(network):
        how = ROUND[precision] if unit.weight.numel() >= least else to_half
        unit.weight.copy_(torch.from_numpy(how(unit.weight.numpy())))


def smallest_compressed(network: nn.Module) -> int:
    """The size of the smallest weight tensor that is compressed; see `KEPT`."""
    sizes = sorted(unit.weight.numel() for unit in _convolutions(network))
    budget, kept = KEPT * sum(sizes), 0
    for size in sorted(set(sizes)):
        kept += size * sizes.count(size)
        if kept > budget:
            return size
    raise ValueError("a network without convolutions")


def compress(model: Any, precision: str, least: int) -> Any:
    """Write weight tensors of at least `least` values, already rounded, as `precision` holds them."""
    if precision == "fp16":
        return model
    coremltools()
    number_names_anew()
    with quiet():
        import coremltools.optimize.coreml as optimize

        # A tensor is compressed if it has more values than the threshold.
        if precision == "int8":
            linear = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=least - 1)
            return optimize.linear_quantize_weights(model, optimize.OptimizationConfig(linear))
        lookup = optimize.OpPalettizerConfig(
            mode="custom", lut_function=_as_table, weight_threshold=least - 1
        )
        return optimize.palettize_weights(model, optimize.OptimizationConfig(lookup))


def _as_table(weights: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """The distinct values of a rounded tensor, filled up to a whole palette, and the index of each weight."""
    table, index = np.unique(weights.ravel(), return_inverse=True)
    filled = np.concatenate([table, np.full(2**BITS - len(table), table[-1], table.dtype)])
    return filled, index.ravel().astype(np.uint8)


def _convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [unit for unit in network.modules() if isinstance(unit, nn.Conv2d)]
