"""Image sources to pixels in one form: (height, width, 3) uint8, BGR, upright."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import ImageError, MissingImageError, UsageError
from edgeyolo.runtime.pixel_values import Pixels, check_size, to_uint8
from edgeyolo.support.reading import path_text, read_regular

if TYPE_CHECKING:
    from PIL.Image import Image

    from edgeyolo.support.folders import Walk

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[Any] | Image"

_SUFFIXES = "avif bmp dib gif jfif jp2 jpe jpeg jpg mpo pbm pgm png pnm ppm tif tiff webp"
IMAGE_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
MAX_BYTES = 1 << 30
"""Files above one GiB are not images that a detector reads; they are refused before they fill the memory."""


def read_image(source: ImageSource, *, max_pixels: int | None = None, scale: float | None = None) -> Pixels:
    """Read an image into (height, width, 3) uint8, BGR, upright.

    Args:
        source: a path; a file's bytes; a PIL image (any mode); or an array of integers: (h, w) or (h, w, 1) grey,
            (h, w, 3) BGR, (h, w, 4) BGRA. EXIF orientation is applied to files, bytes and PIL images; alpha is
            dropped; of an animation the first frame is taken. A contiguous BGR array of uint8 is returned as it is,
            not copied. 16-bit values (uint16, 16-bit files) are 0..65535 and keep their high byte; other integers
            are taken where all are in 0..255.
        max_pixels: refuse files and bytes whose header announces more pixels (decompression bombs); by default
            120 million, or EDGEYOLO_MAX_PIXELS.
        scale: what values that are no 8-bit ones are multiplied by to become 0..255, for all other ranges: 1 / 16 for
            a camera of 12 bits in uint16, 1 / 4 for one of 10 bits, 255 for floats in 0..1, 1 for 0..255.

    Raises:
        ImageError: the image is missing, damaged or of an unusable kind or range; the message names it.
        UsageError: `source` is none of the above.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, scale)
    from edgeyolo.runtime.encoded_image import decode_image  # only here: who gives arrays needs no Pillow

    if isinstance(source, (str, os.PathLike)):
        return decode_image(read_file(Path(source)), path_text(source), max_pixels=max_pixels, scale=scale)
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        return decode_image(data, f"encoded image ({len(data):,} bytes)", max_pixels=max_pixels, scale=scale)
    if _is_pil(source):
        return _from_pil(source, max_pixels, scale)
    raise UsageError(
        f"image: expected a path, bytes, a PIL image or a numpy array, got {type(source).__name__}",
        hint=_way_out(source),
    )


def _way_out(source: object) -> str:
    """Say what to give in place of a value that is no image."""
    if hasattr(source, "read"):
        return "Give the bytes of an open file: file.read()."
    if isinstance(source, list | tuple):
        return "For several images: detector.batch(images). Nested lists of pixels: numpy.asarray(pixels, numpy.uint8)."
    if hasattr(source, "permute"):
        return (
            "For a torch tensor: tensor.permute(1, 2, 0).numpy(), scaled to 0..255, as uint8, in BGR order."
        )
    if isinstance(source, int):
        return "For a camera: detector.stream(0)."
    return "numpy.asarray(image) makes an array of what numpy knows."


def list_images(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, recursive: bool = False
) -> list[Path]:
    """Image files behind a file, a folder, a glob pattern or a sequence of these.

    Sorted within each. These are the files of `find_images`, which says what they are and what it raises.
    """
    return find_images(source, recursive=recursive).files


def find_images(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, recursive: bool = False
) -> Walk:
    """Image files behind a file, a folder, a glob pattern or a sequence of these.

    The walk also says what was left out. A file that is named is taken whatever its suffix; folders and patterns give
    files with an image's suffix, and no hidden ones (edgeyolo.support.folders). `recursive` descends into folders
    below a folder; in patterns, `**` does.

    Raises:
        ImageError: a source does not exist, is no regular file or leads to no image.
    """
    from glob import has_magic

    from edgeyolo.support.folders import (  # who reads single images loads none of it
        Walk,
        match_files,
        walk_files,
    )

    if not isinstance(source, (str, os.PathLike)):
        every = Walk()
        for item in source:
            every.add(find_images(item, recursive=recursive))
        if not every.files:
            raise MissingImageError(
                "no image was given", hint="Give a file, a folder or a pattern such as 'photos/*.jpg'."
            )
        return every
    path = Path(source)
    if path.is_dir():
        found = walk_files(path, IMAGE_SUFFIXES, recursive=recursive)
        if not found.files and not recursive and walk_files(path, IMAGE_SUFFIXES).files:
            raise MissingImageError(
                f"{path}: no image in this folder, only in folders below", hint="Search recursively."
            )
    elif not path.exists() and has_magic(str(source)):
        found = match_files(str(source), IMAGE_SUFFIXES)
    else:
        _check_exists(path)
        if not path.is_file():
            raise ImageError(f"{path}: not a regular file, so not an image")
        found = Walk([path])
    if not found.files:
        left_out = "".join(f"; left out: {line}" for line in found.sentences())
        raise MissingImageError(
            f"{source}: no image found{left_out}",
            hint=f"Looked for files ending in {', '.join(sorted(IMAGE_SUFFIXES))}.",
        )
    return found


def _from_array(array: NDArray[Any], scale: float | None) -> Pixels:
    name = f"array {array.dtype} {array.shape}"
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        hint = ""
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = "This one has its channels first: array.transpose(1, 2, 0)."
        elif array.ndim == 4:
            hint = "This one has several images: detector.batch(array) takes them one by one."
        raise ImageError(
            f"{name}: expected (height, width), or (height, width, 1, 3 or 4) in BGR order", hint=hint
        )
    check_size((array.shape[1], array.shape[0]), name, sys.maxsize)
    pixels = to_uint8(array, name, scale=scale)
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return np.ascontiguousarray(pixels[:, :, :3])
    return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)


def _is_pil(source: object) -> bool:
    """Return True for a PIL image, without importing Pillow.

    An instance exists only where it has been imported.
    """
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(source, module.Image)


def _from_pil(image: Any, max_pixels: int | None, scale: float | None) -> Pixels:
    from edgeyolo.runtime.encoded_image import pixel_limit
    from edgeyolo.runtime.pil_image import pil_to_bgr

    name = f"PIL image {getattr(image, 'filename', '') or image.mode}"
    check_size(image.size, name, pixel_limit(max_pixels))
    try:
        return pil_to_bgr(image, name, scale=scale)
    except ImageError:
        raise
    except Exception as error:  # an image opened lazily is read here, and may be damaged in any way
        raise ImageError(f"{name}: damaged or truncated image ({error})") from error


def read_file(path: Path) -> bytes:
    """Bytes of an image file: a regular one of at most MAX_BYTES.

    ImageError where it is none.
    """
    _check_exists(path)
    if path.is_dir():
        raise ImageError(
            f"{path}: a folder, not an image",
            hint="edgeyolo.runtime.images.list_images(folder) gives the images in it.",
        )
    return read_regular(path, limit=MAX_BYTES, error=ImageError)


def _check_exists(path: Path) -> None:
    """Raise ImageError with the nearest name that does exist."""
    try:
        if path.exists():
            return
    except (OSError, ValueError) as error:  # a name that is too long, a folder that may not be entered
        raise MissingImageError(f"{str(path)[:100]!r}: not a file name ({error})") from error
    if str(path).startswith(("http:", "https:")):
        raise MissingImageError(f"{path}: an address, not a file", hint="Download the image first.")
    if not path.parent.is_dir():
        raise MissingImageError(f"{path}: there is no such file, nor the folder {path.parent}")
    import difflib

    try:
        near = difflib.get_close_matches(path.name, [each.name for each in path.parent.iterdir()], n=1)
    except OSError:  # a folder that may be entered but not listed
        near = []
    hint = f"Did you mean {path.parent / near[0]}?" if near else ""
    raise MissingImageError(f"{path}: there is no such file", hint=hint)
