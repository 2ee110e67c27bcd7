"""Pixel values of any type to uint8.

Their range is never guessed from the type alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import ImageError

Pixels = NDArray[np.uint8]

_READ = "edgeyolo.runtime.images.read_image"  # where users find it


def to_uint8(values: NDArray[Any], name: str, *, scale: float | None = None) -> Pixels:
    """Pixel values of any dtype -> uint8.

    uint8 stays as it is. uint16 are 0..65535, and their high byte is taken, as `cv2.imread` does; where none is
    above 255 they are more likely 8-bit values, and refused. Other integers are taken where all of them are in
    0..255; no dtype says what else they may mean. With `scale`, values of any other dtype, floats too, are multiplied
    by it, rounded and clipped to 0..255: 1 / 16 for a camera of 12 bits, 1 / 4 for one of 10, 255 for 0..1.

    Raises ImageError for what has no known range, with the way out.
    """
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    return settle_values(values.dtype, lambda: limits_of(values), name, scale)(values)


def limits_of(values: NDArray[Any]) -> tuple[int, int]:
    """The least and the largest of integers, 0 and 0 of none."""
    return (int(values.min()), int(values.max())) if values.size else (0, 0)


def settle_values(
    dtype: np.dtype[Any], limits: Callable[[], tuple[int, int]], name: str, scale: float | None
) -> Callable[[NDArray[Any]], Pixels]:
    """Conversion of an image's values to uint8 by the rules of `to_uint8`.

    It takes all of them or a part. `limits` gives the least and the largest value of the image, where they decide.
    """
    if scale is not None:
        if dtype.kind not in "uifb" or not (math.isfinite(scale) and scale > 0):
            raise ImageError(f"{name}: expected numbers and a scale above 0, got {dtype} and scale={scale!r}")
        return lambda values: _scaled(values, name, scale)
    if dtype.kind not in "ui":
        raise ImageError(
            f"{name}: expected pixels of uint8 or uint16, got {dtype}",
            hint=f"Say what they mean: {_READ}(image, scale=255) for values in 0..1.",
        )
    low, high = limits()
    if dtype == np.uint16:
        if 0 < high <= 0xFF:
            raise ImageError(
                f"{name}: pixels of 16 bits, but none is above {high}: as 0..65535 they would all be black",
                hint=f"If they are in 0..255: {_READ}(image, scale=1). If it is a dark image: scale=1 / 257.",
            )
        return lambda values: np.ascontiguousarray((values >> 8).astype(np.uint8))
    if low < 0 or high > 0xFF:
        raise ImageError(
            f"{name}: pixel values from {low} to {high}; {dtype} does not say what they mean, 0 to 255 would be "
            "taken as they are",
            hint=f"Say it: {_READ}(image, scale=1 / 16) for a camera of 12 bits, scale=1 / 257 for 0..65535.",
        )
    return lambda values: np.ascontiguousarray(values.astype(np.uint8))


def _scaled(values: NDArray[Any], name: str, scale: float) -> Pixels:
    pixels = values.astype(np.float32) * np.float32(scale)
    if not np.isfinite(pixels).all():
        raise ImageError(f"{name}: some pixels are not finite")
    return np.ascontiguousarray(np.clip(np.rint(pixels, out=pixels), 0, 255).astype(np.uint8))


def check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    """Raise ImageError for an image of too many pixels, or of none.

    `size` is (width, height); at most `max_pixels` are allowed.
    """
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: the image has no pixels ({width} x {height})")
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width} x {height} = {width * height:,} pixels, the limit is {max_pixels:,}",
            hint="Such a file can exhaust the memory. If it is to be trusted: EDGEYOLO_MAX_PIXELS=N, or "
            f"{_READ}(..., max_pixels=N).",
        )
