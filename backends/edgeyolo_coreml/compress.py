"""Weights of three precisions.

Activations are float16; the engine turns the weights back into it on the way in.

The network's weights are rounded first, to levels that the file holds exactly (`rounding`); coremltools then only
writes them in the smaller form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeyolo_coreml.rounding import BITS, to_half, to_int8, to_palette
from edgeyolo_coreml.toolkit import coremltools, number_names_anew, quiet

# The smallest tensors, which together hold this share of the weights, stay float16: they are the first layers and the
# outputs, where an error costs most (largest error of a score with 6 bits: 0.11 -> 0.06), and cost a fiftieth more.
KEPT = 0.02

# Of 6-bit weights, those in the next larger tensors, up to this share, have 8: one table serves a whole tensor, and
# filters of small tensors differ most in how large their weights are. A yolov7-tiny-silu of half width on generated
# scenes loses 2.1 AP points where all but the smallest have 6 bits, and none (-0.5 to 0.3) so, for 3 % more bytes.
EIGHT = 0.12

Round = Callable[[NDArray[Any]], NDArray[np.float32]]


@dataclass(frozen=True)
class Sizes:
    """Sizes from which weight tensors are compressed.

    Those of at least `compressed` values are compressed, of them those of at least `palettes` to 6 bits.
    """

    compressed: int
    palettes: int

    def rounding(self, values: int, precision: str) -> Round:
        """Rounding of a tensor of so many values."""
        if precision == "fp16" or values < self.compressed:
            return to_half
        return to_palette if precision == "w6" and values >= self.palettes else to_int8


@torch.no_grad()
def round_weights(network: nn.Module, precision: str) -> None:
    """Round the convolution weights of `network` to levels of `precision`.

    The smallest tensors get finer levels.
    """
    sizes = sizes_for(network)
    for unit in _convolutions(network):
        how = sizes.rounding(unit.weight.numel(), precision)
        unit.weight.copy_(torch.from_numpy(how(unit.weight.numpy())))


def sizes_for(network: nn.Module) -> Sizes:
    """The sizes from which on weight tensors are compressed; see `KEPT` and `EIGHT`."""
    return Sizes(_smallest_beyond(network, KEPT), _smallest_beyond(network, EIGHT))


def _smallest_beyond(network: nn.Module, share: float) -> int:
    """Size of the smallest weight tensor beyond a share of the weights.

    Those before it together hold at most `share`.
    """
    sizes = sorted(unit.weight.numel() for unit in _convolutions(network))
    budget, kept = share * sum(sizes), 0
    for size in sorted(set(sizes)):
        kept += size * sizes.count(size)
        if kept > budget:
            return size
    raise ValueError("a network without convolutions")


def compress(model: Any, precision: str, sizes: Sizes) -> Any:
    """Write the weight tensors, already rounded, as `precision` holds them."""
    if precision == "fp16":
        return model
    coremltools()
    number_names_anew()
    with quiet():
        import coremltools.optimize.coreml as optimize

        # A tensor is compressed if it has more values than the threshold, and is not compressed yet.
        if precision == "w6":
            lookup = optimize.OpPalettizerConfig(
                mode="custom", lut_function=_as_table, weight_threshold=sizes.palettes - 1
            )
            model = optimize.palettize_weights(model, optimize.OptimizationConfig(lookup))
        linear = optimize.OpLinearQuantizerConfig(
            mode="linear_symmetric", weight_threshold=sizes.compressed - 1
        )
        return optimize.linear_quantize_weights(model, optimize.OptimizationConfig(linear))


def _as_table(weights: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Palette of a rounded tensor, and the index of each weight.

    It has the distinct values, filled up to a whole palette.
    """
    table, index = np.unique(weights.ravel(), return_inverse=True)
    filled = np.concatenate([table, np.full(2**BITS - len(table), table[-1], table.dtype)])
    return filled, index.ravel().astype(np.uint8)


def _convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [unit for unit in network.modules() if isinstance(unit, nn.Conv2d)]
