"""Pillow's images to upright BGR pixels, strip by strip.

Pillow keeps four bytes for each pixel of three colours, and gives them away through copies; strips keep those small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeyolo.runtime.pixel_values import Pixels, limits_of, settle_values

STRIP = 1 << 19
"""Pixels that are converted at once."""

_ORIENTATION = 0x0112  # EXIF / TIFF tag


def pil_to_bgr(image: Image.Image, name: str, *, scale: float | None = None, done: bool = False) -> Pixels:
    """A PIL image of any mode -> (height, width, 3) uint8 BGR.

    It is turned upright by its EXIF orientation. `scale` as in `to_uint8`, for the modes of wide integers (I, I;16
    ...) and of floats (F). `done` gives the image's own memory back before that.
    """
    image.load()
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    orientation = read_orientation(image)
    wide = image.mode == "F" or image.mode.startswith("I")
    convert = _wide(image, name, scale) if wide else _colours
    for top, part in strips(image):
        code = cv2.COLOR_GRAY2BGR if wide else cv2.COLOR_RGB2BGR
        pixels[top : top + part.height] = cv2.cvtColor(convert(part), code)
    if done:
        image.close()
    return turn_upright(pixels, orientation)


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """(first row, those rows of the image), from the top."""
    width, height = image.size
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(top + rows, height)))


def _colours(part: Image.Image) -> NDArray[Any]:
    return np.asarray(part if part.mode == "RGB" else part.convert("RGB"))


def _wide(image: Image.Image, name: str, scale: float | None) -> Callable[[Image.Image], NDArray[Any]]:
    dtype = np.asarray(image.crop((0, 0, 1, 1))).dtype

    def limits() -> tuple[int, int]:
        each = [limits_of(np.asarray(part)) for _, part in strips(image)]
        return min(low for low, _ in each), max(high for _, high in each)

    if image.format and dtype == np.int32:
        low, high = limits()
        if low >= 0 and high <= 0xFFFF:
            dtype = np.dtype(np.uint16)  # older Pillows open files of 16 bits in mode I
    settled = settle_values(dtype, limits, name, scale)
    return lambda part: settled(np.asarray(part).astype(dtype, copy=False))


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo the EXIF orientation of an array (height, width, 3).

    Orientations are 1..8; anything else counts as 1.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def read_orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8; 1 where there is none."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - EXIF that cannot be parsed orients nothing
        return 1
