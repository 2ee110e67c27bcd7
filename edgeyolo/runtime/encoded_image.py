"""Encoded images (JPEG, PNG, TIFF, WebP, GIF ...) to upright BGR pixels.

An image that cannot be decoded is an error that says what is wrong.

JPEG goes through OpenCV, which is two to three times as fast as Pillow and gives the pixels of
`cv2.imread`. Everything else goes through Pillow, which checks sums and lengths. OpenCV alone would not do:
it returns the undamaged half of a truncated file as if it were the picture.
"""

from __future__ import annotations

import io
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from edgeyolo.errors import EdgeYoloError, ImageError

Pixels = NDArray[np.uint8]

MAX_PIXELS = 178_956_970
"""Largest image that is decoded without being asked to: 0.5 GB as BGR, and Pillow's own limit."""

_ORIENTATION = 0x0112  # EXIF / TIFF tag
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
    data: bytes, name: str = "encoded image", *, max_pixels: int = MAX_PIXELS, scale: float | None = None
) -> Pixels:
    """Decode a file's bytes into (height, width, 3) uint8, BGR, upright.

    The EXIF orientation is applied. Alpha is dropped, as `cv2.imread` does; 16-bit values keep their high byte, or
    are multiplied by `scale` (see `to_uint8`); of an animation or a file of several pages the first one is taken.
    `name` stands for the data in messages.

    Damage that leaves the file's structure whole (flipped bits between a JPEG's markers) shows in the picture
    only: no decoder reports it.

    Raises:
        ImageError: not an image, truncated, damaged, larger than `max_pixels`, or of a kind whose values are
            not colours in 0..255 or 0..65535.
    """
    if not data:
        raise ImageError(f"{name}: the file is empty (0 bytes)", hint="Copy or download it again.")
    try:
        with Image.open(io.BytesIO(data)) as image:
            check_size(image.size, name, max_pixels)
            return _decode(image, data, name, scale)
    except EdgeYoloError:
        raise
    except UnidentifiedImageError:
        reason, hint = _explain(data)
        raise ImageError(f"{name}: {reason}", hint=hint) from None
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name}: {error}", hint="Raise PIL.Image.MAX_IMAGE_PIXELS if the file is to be trusted."
        ) from error
    except Exception as error:  # Pillow's decoders fail with OSError, SyntaxError, struct.error, EOFError ...
        raise ImageError(f"{name}: damaged or truncated image ({error})", hint=_AGAIN) from error


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
            hint="Such a file can exhaust the memory. If it is to be trusted: read_image(..., max_pixels=N).",
        )


def pil_to_bgr(image: Image.Image, name: str, *, scale: float | None = None) -> Pixels:
    """A PIL image of any mode -> (height, width, 3) uint8 BGR.

    It is turned upright by its EXIF orientation. `scale` as in `to_uint8`, for the modes of wide integers (I, I;16
    ...) and of floats (F).
    """
    image.load()
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        if image.format and values.dtype == np.int32 and values.min() >= 0 and values.max() <= 0xFFFF:
            values = values.astype(np.uint16)  # older Pillows open files of 16 bits in mode I
        gray = to_uint8(values, name, scale=scale)
        return turn_upright(np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR), np.uint8), _orientation(image))
    rgb = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return turn_upright(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), np.uint8), _orientation(image))


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
    if scale is not None:
        return _scaled(values, name, scale)
    if values.dtype.kind not in "ui":
        raise ImageError(
            f"{name}: expected pixels of uint8 or uint16, got {values.dtype}",
            hint="Say what they mean: read_image(image, scale=255) for values in 0..1.",
        )
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if values.dtype == np.uint16:
        if 0 < high <= 0xFF:
            raise ImageError(
                f"{name}: pixels of 16 bits, but none is above {high}: as 0..65535 they would all be black",
                hint="If they are in 0..255: read_image(image, scale=1). If it is a dark image: scale=1 / 257.",
            )
        return np.ascontiguousarray((values >> 8).astype(np.uint8))
    if low < 0 or high > 0xFF:
        raise ImageError(
            f"{name}: pixel values from {low} to {high}; {values.dtype} does not say what they mean, 0 to 255 would be "
            "taken as they are",
            hint="Say it: read_image(image, scale=1 / 16) for a camera of 12 bits, scale=1 / 257 for 0..65535.",
        )
    return np.ascontiguousarray(values.astype(np.uint8))


def _scaled(values: NDArray[Any], name: str, scale: float) -> Pixels:
    if values.dtype.kind not in "uifb" or not (math.isfinite(scale) and scale > 0):
        raise ImageError(
            f"{name}: expected numbers and a scale above 0, got {values.dtype} and scale={scale!r}"
        )
    pixels = values.astype(np.float32) * np.float32(scale)
    if not np.isfinite(pixels).all():
        raise ImageError(f"{name}: some pixels are not finite")
    return np.ascontiguousarray(np.clip(np.rint(pixels, out=pixels), 0, 255).astype(np.uint8))


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


def _decode(image: Image.Image, data: bytes, name: str, scale: float | None) -> Pixels:
    if image.format not in ("JPEG", "MPO"):  # MPO: several JPEGs in one file, as many phones write
        return pil_to_bgr(image, name, scale=scale)
    if not _jpeg_ends(data):
        raise ImageError(
            f"{name}: truncated JPEG, no end-of-image marker in {len(data):,} bytes", hint=_AGAIN
        )
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is not None:
        return turn_upright(np.asarray(pixels, np.uint8), _orientation(image))
    return pil_to_bgr(image, name)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - EXIF that cannot be parsed orients nothing
        return 1


def _jpeg_ends(data: bytes) -> bool:
    """Return True if an end-of-image marker follows the scan.

    One inside an EXIF thumbnail does not count.
    """
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xDA:
            return data.rfind(b"\xff\xd9") > position
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        position += 1 if marker == 0xFF else 2 + length  # 0xFF before a marker is a fill byte
    return False


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
        return "a video, not an image", "Take its frames with cv2.VideoCapture and pass them as arrays."
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
