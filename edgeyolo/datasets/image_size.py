"""The size of an image, from its header alone."""

from __future__ import annotations

from pathlib import Path

from edgeyolo.errors import ImageError

_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)


def read_image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels of the upright image, from its header.

    ImageError where there is none.
    """
    return read_header(path)[0]


def read_header(path: Path) -> tuple[tuple[int, int], bool]:
    """(width, height) of the upright image, and whether it is stored sideways.

    Sideways is an image that its EXIF tag turns upright.

    Raises ImageError where there is no header to read.
    """
    from PIL import Image, UnidentifiedImageError

    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ImageError(f"{path}: not a regular file, so not an image")
    try:
        with Image.open(path) as image:
            (width, height), sideways = image.size, _orientation(image) in _SIDEWAYS
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: not an image in a format known here") from error
    except Exception as error:  # Pillow's parsers fail with OSError, SyntaxError, struct.error ...
        raise ImageError(f"{path}: its header cannot be read ({error})") from error
    return ((height, width) if sideways else (width, height)), sideways


def _orientation(image: object) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - as in read_image: EXIF that cannot be parsed orients nothing
        return 1
