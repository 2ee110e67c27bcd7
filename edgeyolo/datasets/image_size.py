"""The size of an image, from its header alone."""

from __future__ import annotations

from pathlib import Path

from edgeyolo.errors import ImageError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".jfif")

_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)


def read_image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels of the upright image, from its header. ImageError where there is none."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            width, height = image.size
            sideways = image.getexif().get(_EXIF_ORIENTATION) in _SIDEWAYS
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: not an image in a format known here") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: its header cannot be read: {error}") from error
    return (height, width) if sideways else (width, height)
