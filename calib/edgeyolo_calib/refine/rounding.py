"""Rounding of a convolution's weights that minds what they are multiplied by."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeyolo_calib.ranges.ranges import INT8

PATCHES = 96
"""Places of each image that a convolution's input is looked at."""

DAMPING = 0.01
"""Share of the mean square of an input that is added to every input's: what hardly varies on the calibration images
shall not decide."""

_BLOCK = 128


class Moments:
    """Second moments of a convolution's inputs.

    (k, k) with k = input channels * kernel area: of what its weights are multiplied by.
    """

    def __init__(self, conv: nn.Conv2d, seed: int = 0) -> None:
        self._conv = conv
        assert not isinstance(conv.padding, str)  # the family's are numbers
        self._padding = conv.padding
        size = conv.weight[0].numel()
        self._sum = torch.zeros(size, size, dtype=torch.float64)
        self._generator = torch.Generator().manual_seed(seed)

    def add(self, values: Tensor) -> None:
        """Count an input (N, C, H, W), at `PATCHES` places of each image."""
        conv = self._conv
        for image in values:
            kernel, stride = conv.kernel_size, conv.stride
            columns = F.unfold(image[None], kernel, padding=self._padding, stride=stride)[0]
            count = columns.shape[1]
            chosen = torch.randperm(count, generator=self._generator)[:PATCHES]
            picked = columns[:, chosen]
            self._sum += (picked @ picked.T).double() * (count / len(chosen))

    def damped(self) -> Tensor:
        """The moments, as large as their mean at least in `DAMPING`."""
        diagonal = self._sum.diagonal()
        return self._sum + torch.eye(len(diagonal)).double() * max(DAMPING * float(diagonal.mean()), 1e-12)


def rounded(weight: Tensor, scales: Tensor, moments: Tensor) -> Tensor:
    """Round a weight (out, in, kh, kw) to symmetric int8.

    `scales` (out,) are those of its output channels.

    The columns are rounded one after another; the error of each is made good in those that follow, as far as their
    inputs go together (Frantar et al., "GPTQ", 2023, after "Optimal Brain Surgeon"). Nearest rounding is what comes of
    inputs that have nothing to do with each other. The largest weight of a channel is rounded to the
    nearest, to the grid's end, so that whoever quantizes the result by its largest value finds the same grid.
    """
    flat = weight.flatten(1).double()
    step = scales.double()[:, None]
    ends = (flat / step).abs().argmax(dim=1, keepdim=True)
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(moments)), upper=True)
    left, levels = flat.clone(), torch.zeros_like(flat)
    for start in range(0, flat.shape[1], _BLOCK):
        end = min(start + _BLOCK, flat.shape[1])
        errors = torch.zeros(len(flat), end - start, dtype=torch.float64)
        for column in range(start, end):
            level = (left[:, column] / step[:, 0]).round().clamp(INT8.low, INT8.high)
            levels[:, column] = level
            error = (left[:, column] - level * step[:, 0]) / inverse[column, column]
            left[:, column:end] -= error[:, None] * inverse[column, column:end]
            errors[:, column - start] = error
        left[:, end:] -= errors @ inverse[start:end, end:]
    largest = (flat / step).round().clamp(INT8.low, INT8.high).gather(1, ends)
    levels.scatter_(1, ends, largest)
    return (levels * step).reshape(weight.shape).to(weight.dtype)
