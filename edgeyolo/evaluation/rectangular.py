"""Batches of images and their sizes.

They are square or the paper's rectangular ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeyolo.runtime.preprocess import rectangular_shape


@dataclass(frozen=True)
class Batch:
    """A batch of images and its size.

    `images` are indices into the data set, `size` the input's (height, width) in pixels.
    """

    images: tuple[int, ...]
    size: tuple[int, int]


def square_batches(count: int, batch: int, size: tuple[int, int]) -> list[Batch]:
    """The images in their order, all letterboxed to the network's own size."""
    return [Batch(tuple(range(start, min(start + batch, count))), size) for start in range(0, count, batch)]


def rectangular_batches(
    sizes: Sequence[tuple[int, int]], batch: int, long_side: int, stride: int
) -> list[Batch]:
    """Batches of images sorted by aspect ratio, widest first.

    Each batch is just large enough for its most extreme image.

    `sizes` are (width, height) in pixels. This is the evaluation behind the paper's AP; it differs from the
    square one by a few tenths of AP.
    """
    aspects = np.array([height / width for width, height in sizes], dtype=np.float64)
    order = np.argsort(aspects, kind="stable")
    batches = []
    for start in range(0, len(order), batch):
        members = order[start : start + batch]
        shape = rectangular_shape(aspects[members].tolist(), long_side, stride)
        batches.append(Batch(tuple(members.tolist()), shape))
    return batches
