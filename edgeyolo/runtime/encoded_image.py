"""Encoded images (JPEG, PNG, TIFF, WebP, GIF ...) to upright BGR pixels.

An image that cannot be decoded is an error that says what is wrong.

JPEG goes through OpenCV, which is two to three times as fast as Pillow and gives the pixels of
`cv2.imread`. Everything else goes through Pillow, which checks sums and lengths. OpenCV alone would not do:
it returns the undamaged half of a truncated file as if it were the picture.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from edgeyolo.errors import EdgeYoloError, ImageError
from edgeyolo.runtime.jpeg_header import JpegHeader, is_jpeg, read_jpeg_header
from edgeyolo.runtime.pil_image import pil_to_bgr, read_orientation, turn_upright
from edgeyolo.runtime.pixel_values import Pixels, check_size
from edgeyolo.support import environment

MAX_PIXELS = 120_000_000
"""Largest image that is decoded without being asked to: above what cameras of 108 megapixels write, 0.36 GB as BGR,
and 0.85 GB while it is decoded (measured: 7 bytes a pixel and the file, whatever the format)."""

_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_AGAIN = "The file is damaged: copy or download it again."
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_HEIF = (b"heic", b"heix", b"heif", b"mif1", b"msf1")
_VIDEO = (b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba", b"FLV\x01")


def decode_image(
    data: bytes,
    name: str = "encoded image",
    *,
    max_pixels: int | None = None,
    scale: float | None = None,
) -> Pixels:
    """Decode a file's bytes into (height, width, 3) uint8, BGR, upright.

    The EXIF orientation is applied. Alpha is dropped, as `cv2.imread` does; 16-bit values keep their high byte, or
    are multiplied by `scale` (see `to_uint8`); of an animation or a file of several pages the first one is taken.
    `name` stands for the data in messages.

    Damage that leaves the file's structure whole (flipped bits between a JPEG's markers) shows in the picture
    only: no decoder reports it.

    Raises:
        ImageError: not an image, truncated, damaged, larger than `max_pixels` (see `pixel_limit`), or of a kind
            whose values are not colours in 0..255 or 0..65535.
    """
    if not data:
        raise ImageError(f"{name}: the file is empty (0 bytes)", hint="Copy or download it again.")
    if (header := _upright_jpeg(data)) is not None:
        check_size(header.size, name, pixel_limit(max_pixels))
        _require_whole(header, data, name)
        if (pixels := _by_opencv(data)) is not None:
            return pixels
    try:
        with Image.open(io.BytesIO(data)) as image:
            check_size(image.size, name, pixel_limit(max_pixels))
            return _decode(image, data, name, scale)
    except EdgeYoloError:
        raise
    except UnidentifiedImageError:
        reason, hint = _explain(data)
        raise ImageError(f"{name}: {reason}", hint=hint) from None
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name}: {error}", hint="Raise PIL.Image.MAX_IMAGE_PIXELS too if the file is to be trusted."
        ) from error
    except Exception as error:  # Pillow's decoders fail with OSError, SyntaxError, struct.error, EOFError ...
        raise ImageError(f"{name}: damaged or truncated image ({error})", hint=_AGAIN) from error


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image decoded at 1 / `part` of its scale.

    pixels: (height // part, width // part, 3) uint8, BGR, upright. size: (height, width) of the whole image.
    """

    pixels: Pixels
    size: tuple[int, int]
    part: int


def decode_small(data: bytes, name: str, wanted: tuple[int, int]) -> Decoded:
    """Decode a file's bytes at the least scale of 1, 1/2, 1/4, 1/8.

    It has the `wanted` (height, width) or more.

    A JPEG is decoded at that scale, which takes half the time and less; others are scaled down after it.

    Raises ImageError as `decode_image` does.
    """
    header = _upright_jpeg(data)
    if header is not None:
        size = header.size[::-1]
        part = fitting_part(size, wanted)
        check_size(header.size, name, pixel_limit(None))
        _require_whole(header, data, name)
        if part > 1 and (pixels := _by_opencv(data, part)) is not None:
            # Decoders round up: the last row or column is of less than a whole cell then.
            return Decoded(pixels[: size[0] // part, : size[1] // part], size, part)
    whole = decode_image(data, name)
    size = whole.shape[0], whole.shape[1]
    part = fitting_part(size, wanted)
    return Decoded(scale_down(whole, part), size, part)


def fitting_part(size: tuple[int, int], wanted: tuple[int, int]) -> int:
    """Largest of 1, 2, 4, 8 to divide both sides by and still have the wanted."""
    most = min(side // max(math.ceil(need), 1) for side, need in zip(size, wanted, strict=True))
    return max(part for part in _REDUCED if part == 1 or part <= most)


def scale_down(pixels: Pixels, part: int) -> Pixels:
    """Means of whole squares of `part` x `part` pixels.

    Pixels over at the right and the bottom are left out.
    """
    if part == 1:
        return pixels
    height, width = pixels.shape[0] // part, pixels.shape[1] // part
    whole = pixels[: height * part, : width * part]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def pixel_limit(asked: int | None) -> int:
    """Limit of pixels: the one asked for, EDGEYOLO_MAX_PIXELS, or MAX_PIXELS."""
    return asked if asked is not None else environment.max_pixels() or MAX_PIXELS


def _decode(image: Image.Image, data: bytes, name: str, scale: float | None) -> Pixels:
    if image.format == "WEBP" and not getattr(image, "is_animated", False):
        return _decode_webp(image, data, name)
    if image.format not in ("JPEG", "MPO"):  # MPO: several JPEGs in one file, as many phones write
        return pil_to_bgr(image, name, scale=scale, done=True)
    _require_whole(read_jpeg_header(data), data, name)
    pixels = _by_opencv(data)
    if pixels is not None:
        return turn_upright(pixels, read_orientation(image))
    return pil_to_bgr(image, name, done=True)


def _upright_jpeg(data: bytes) -> JpegHeader | None:
    """Header of a JPEG that nothing turns, so that Pillow need not open it.

    None for anything else.
    """
    header = read_jpeg_header(data) if is_jpeg(data) else JpegHeader()
    return header if min(header.size) and not header.exif else None


def _require_whole(header: JpegHeader, data: bytes, name: str) -> None:
    if not header.whole:
        raise ImageError(
            f"{name}: truncated JPEG, no end-of-image marker in {len(data):,} bytes", hint=_AGAIN
        )


def _by_opencv(data: bytes, part: int = 1) -> Pixels | None:
    """Pixels as stored, of every `part`-th row and column.

    None where OpenCV cannot decode them.
    """
    how = _REDUCED[part] | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    return None if pixels is None else np.asarray(pixels, np.uint8)


def _decode_webp(image: Image.Image, data: bytes, name: str) -> Pixels:
    """A still WebP, decoded by OpenCV.

    Its decoder is the same library's as Pillow's, and refuses a truncated file too. Pillow's is that for animations,
    which keeps four copies of the picture.
    """
    orientation = read_orientation(image)
    image.close()
    pixels = _by_opencv(data)
    if pixels is None:
        raise ImageError(f"{name}: damaged or truncated WebP", hint=_AGAIN)
    return turn_upright(pixels, orientation)


def _explain(data: bytes) -> tuple[str, str]:
    """Kind of bytes that no decoder knows, and a remedy."""
    head = data[:64]
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the image itself", "Run: git lfs pull"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return f"begins like a {kind} image, but its header is damaged", _AGAIN
    if head[4:8] == b"ftyp" or head[8:12] == b"AVI " or head.startswith(_VIDEO):
        if head[8:12] in _HEIF:
            return "a HEIF image, which Pillow reads with the plug-in pillow-heif only", "Convert it to JPEG."
        return "a video, not an image", "For every frame of it: detector.stream(film)."
    if _is_text(data[:512]):
        start = data[:40].decode("utf-8", "replace").split("\n")[0]
        return f"text, not an image; it begins with {start!r}", "Give an image file."
    return f"not an image format known here (begins with {head[:8].hex(' ')})", "Convert it to JPEG or PNG."


def _is_text(data: bytes) -> bool:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(data) - 3:  # else: a character cut off at the end of the sample
            return False
        text = data[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)
