"""The size of an image, from its header alone."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from edgeyolo.errors import ImageError
from edgeyolo.runtime.jpeg_header import JpegHeader, is_jpeg, read_jpeg_header

_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # tables of a JPEG whose markers lie among those of frames
_MOST_SEGMENTS = 1000
_HEAD = 4096  # bytes, in which all segments before the frame lie mostly


def read_image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels of the upright image, from its header.

    ImageError where there is none.
    """
    return read_header(path)[0]


def read_stored_size(path: Path) -> tuple[int, int] | None:
    """(width, height) as a JPEG or PNG stores its pixels, whichever way up.

    None where that is not told quickly: it takes tens of microseconds, for what is asked of every image of a set.
    """
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(24)
            if head.startswith(b"\x89PNG\r\n\x1a\n"):
                return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
            return _frame_size(file) if head.startswith(b"\xff\xd8\xff") else None
    except OSError:
        return None


def _frame_size(file: BinaryIO) -> tuple[int, int] | None:
    """Size in a JPEG's start of frame (ISO 10918-1, B.2.2)."""
    position = 2
    for _ in range(_MOST_SEGMENTS):
        file.seek(position)
        segment = file.read(9)
        if len(segment) < 9 or segment[0] != 0xFF:
            return None
        if 0xC0 <= segment[1] <= 0xCF and segment[1] not in _NO_FRAME:
            return int.from_bytes(segment[7:9], "big"), int.from_bytes(segment[5:7], "big")
        position += 1 if segment[1] == 0xFF else 2 + int.from_bytes(segment[2:4], "big")
    return None


def read_header(path: Path) -> tuple[tuple[int, int], bool]:
    """(width, height) of the upright image, and whether it is stored sideways.

    Sideways is an image that its EXIF tag turns upright.

    Raises ImageError where there is no header to read.
    """
    from PIL import Image, UnidentifiedImageError

    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ImageError(f"{path}: not a regular file, so not an image")
    try:
        if (plain := _plain_jpeg(path)) is not None:
            return plain, False
        with Image.open(path) as image:
            (width, height), sideways = image.size, _orientation(image) in _SIDEWAYS
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: not an image in a format known here") from error
    except Exception as error:  # Pillow's parsers fail with OSError, SyntaxError, struct.error ...
        raise ImageError(f"{path}: its header cannot be read ({error})") from error
    return ((height, width) if sideways else (width, height)), sideways


def _plain_jpeg(path: Path) -> tuple[int, int] | None:
    """(width, height) of a JPEG without EXIF data and with an early frame.

    A tenth of the time that Pillow takes; None for all others.
    """
    with path.open("rb") as file:
        data = file.read(_HEAD)
    header = read_jpeg_header(data) if is_jpeg(data) else JpegHeader()
    return header.size if min(header.size) and not header.exif else None


def _orientation(image: object) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - as in read_image: EXIF that cannot be parsed orients nothing
        return 1
