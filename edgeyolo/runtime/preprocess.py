"""Images to the network's input.

The one letterbox, for detection, evaluation, calibration and parity.

The image is scaled by r = min(height / h, width / w) with bilinear interpolation, centred (an odd pixel goes
to the bottom and the right), padded with 114, turned from BGR to the contract's colour order and multiplied
by its scale.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.errors import UsageError
from edgeyolo.runtime.input_array import InputArray, Inside
from edgeyolo.runtime.planes import PlanarImage
from edgeyolo.runtime.scaling import scale

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Letterbox:
    """Place of an image in the network's input.

    Sizes are (height, width) in pixels.

    A point (x, y) of the image is at (x * ratio + left, y * ratio + top) in the input.
    """

    image_size: tuple[int, int]
    size: tuple[int, int]
    ratio: float
    resized: tuple[int, int]  # size of the scaled image inside the input
    top: int
    left: int

    @classmethod
    def fit(cls, image_size: tuple[int, int], size: tuple[int, int], *, enlarge: bool = True) -> Letterbox:
        """Centre an image of `image_size` in `size`.

        With `enlarge=False` it is only ever scaled down.
        """
        (h, w), (height, width) = image_size, size
        ratio = min(height / h, width / w)
        if not enlarge:
            ratio = min(ratio, 1.0)
        # A line of pixels must not vanish, and rounding must not reach past the input.
        resized = min(max(round(h * ratio), 1), height), min(max(round(w * ratio), 1), width)
        top = round((height - resized[0]) / 2 - 0.1)
        left = round((width - resized[1]) / 2 - 0.1)
        return cls((h, w), (height, width), ratio, resized, top, left)

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the input that the image covers; the rest is padding."""
        return slice(self.top, self.top + self.resized[0]), slice(self.left, self.left + self.resized[1])

    def of_original(self, image_size: tuple[int, int], ratio: float) -> Letterbox:
        """The letterbox in terms of the image before scaling.

        The original has `image_size` and had been scaled by `ratio`.
        """
        return replace(self, image_size=image_size, ratio=self.ratio * ratio)

    def to_original(self, xyxy: NDArray[Any]) -> NDArray[np.float32]:
        """(n, 4) corners in pixels of the input -> float32 pixels of the image.

        They are clipped to the image.
        """
        height, width = self.image_size
        limits, shift = np.array(((width, height, width, height), (self.left, self.top) * 2), np.float32)
        points: NDArray[np.float32] = np.asarray(xyxy, np.float32) - shift
        points /= np.float32(self.ratio)
        np.minimum(points, limits, out=points)
        np.maximum(points, np.float32(0), out=points)
        return points

    def to_input(self, xyxy: NDArray[Any]) -> NDArray[np.float32]:
        """(n, 4) corners in pixels of the image -> float32 pixels of the input."""
        shift = np.array([self.left, self.top] * 2, np.float32)
        return (np.asarray(xyxy, np.float32) * np.float32(self.ratio) + shift).astype(np.float32, copy=False)


class Preprocessor:
    """`preprocess` with an `InputArray` that is kept, one per thread."""

    def __init__(self, contract: InputContract) -> None:
        for name, value, known in (
            ("layout", contract.layout, ("NCHW", "NHWC")),
            ("dtype", contract.dtype, ("float32", "float16", "uint8", "int8")),
            ("color_order", contract.color_order, ("RGB", "BGR")),
        ):
            if value not in known:
                raise UsageError(f"input contract: {name} {value!r}, expected one of {', '.join(known)}")
        self.contract = contract
        self._table = contract.pixel_table() if contract.dtype == "int8" else None
        # The usual table, pixel - 128, is the flip of one bit, and many times faster than looking up.
        self._flips = self._table is not None and np.array_equal(self._table, np.arange(-128, 128))
        self._kept = threading.local()

    def __call__(
        self,
        images: Sequence[Pixels | PlanarImage],
        *,
        size: tuple[int, int] | None = None,
        rows: int | None = None,
        out: NDArray[Any] | InputArray | None = None,
        enlarge: bool = True,
    ) -> tuple[NDArray[Any], list[Letterbox]]:
        """Fill a batch.

        Args:
            images: (h, w, 3) uint8 BGR arrays of any sizes; or pictures in the planes of video.
            size: (height, width) of the input, where the contract leaves it open; default the contract's.
            rows: rows of the batch, at least one per image; further rows are padding. Default: one per image.
            out: array to fill, of the batch's shape and dtype; or what `input_array` gave, of which the result is a
                part. Without it the result is a part of this thread's own, valid until its next call; whoever changes
                it takes a copy.
            enlarge: False leaves images that are smaller than the input at their size.

        Returns:
            The batch as the contract describes it, and where each image lies in it.
        """
        shape = self._shape(len(images), size, rows)
        kept = (
            self._own("batch") if out is None else out if isinstance(out, InputArray) else self.input_array()
        )
        batch = out if isinstance(out, np.ndarray) else kept.rows(shape)
        if batch.shape != shape or batch.dtype != self.contract.dtype:
            raise UsageError(f"out: expected {self.contract.dtype} {shape}, got {batch.dtype} {batch.shape}")
        height, width = shape[2:] if self.contract.layout == "NCHW" else shape[1:3]
        boxes = []
        for index, (image, row) in enumerate(zip(images, batch, strict=False)):
            _check_image(image)
            box = Letterbox.fit((image.shape[0], image.shape[1]), (height, width), enlarge=enlarge)
            self._pad(row, index, box.inside, kept)
            self._fill(image, box, row)
            boxes.append(box)
        for index in range(len(images), len(batch)):
            self._pad(batch[index], index, (slice(0, 0), slice(0, 0)), kept)
        return batch, boxes

    def input_array(self) -> InputArray:
        """Memory for `out`: batches that are in use at once need one each."""
        return InputArray(self.contract.dtype)

    @property
    def _pad_value(self) -> Any:
        if self._table is not None:
            return self._table[self.contract.pad_value]
        dtype = np.dtype(self.contract.dtype).type
        value = np.float32(self.contract.pad_value)
        return dtype(value if dtype is np.uint8 else value * np.float32(self.contract.scale))

    def _shape(
        self, images: int, size: tuple[int, int] | None, rows: int | None
    ) -> tuple[int, int, int, int]:
        contract = self.contract
        if size is not None and tuple(size) != contract.size:
            if not contract.dynamic_size:
                raise UsageError(
                    f"size {tuple(size)}: this network takes {contract.size} (height, width) only"
                )
            contract = replace(contract, height=int(size[0]), width=int(size[1]))
        if rows is not None and rows < images:
            raise UsageError(f"{images} images do not fit into a batch of {rows}")
        return contract.shape(images if rows is None else rows)

    def _own(self, name: str, dtype: str | None = None) -> InputArray:
        """This thread's memory of that name."""
        kept: InputArray | None = getattr(self._kept, name, None)
        if kept is None:
            kept = InputArray(dtype or self.contract.dtype)
            setattr(self._kept, name, kept)
        return kept

    def _pad(self, row: NDArray[Any], index: int, inside: Inside, kept: InputArray) -> None:
        """Write padding around `inside`, unless it is there."""
        if kept.is_padded(index, inside):
            return
        canvas = row.transpose(1, 2, 0) if self.contract.layout == "NCHW" else row
        (rows, columns), value = inside, self._pad_value
        canvas[: rows.start] = value
        canvas[rows.stop :] = value
        canvas[rows, : columns.start] = value
        canvas[rows, columns.stop :] = value
        kept.padded(index, inside)

    def _fill(self, image: Pixels | PlanarImage, box: Letterbox, row: NDArray[Any]) -> None:
        scaled = self._scaled(image, box)
        swap = self.contract.color_order == "RGB"
        if self.contract.layout == "NCHW":  # split first: the multiplication then reads contiguous memory
            planes = self._own("planes", "uint8").rows((3, *box.resized))
            cv2.split(scaled, [*planes[::-1]] if swap else [*planes])
            for plane, channel in zip(planes, row, strict=True):
                self._store(plane, channel[box.inside])
        else:
            self._store(cv2.cvtColor(scaled, cv2.COLOR_BGR2RGB) if swap else scaled, row[box.inside])

    def _scaled(self, image: Pixels | PlanarImage, box: Letterbox) -> Any:
        if isinstance(image, np.ndarray) and box.resized == box.image_size:
            return image
        out = self._own("scaled", "uint8").rows((*box.resized, 3))
        return (
            scale(image, box.resized, out)
            if isinstance(image, np.ndarray)
            else image.scaled(box.resized, out)
        )

    def _store(self, pixels: Any, target: NDArray[Any]) -> None:
        if target.dtype == np.uint8:
            np.copyto(target, pixels)
        elif self._table is not None:
            if self._flips:
                np.bitwise_xor(pixels, np.uint8(128), out=target.view(np.uint8))
            else:
                target[...] = self._table[pixels]
        elif (
            target.dtype == np.float32
        ):  # in two steps, which takes less than a multiplication of mixed types
            np.copyto(target, pixels)
            target *= np.float32(self.contract.scale)
        else:
            np.multiply(pixels, np.float32(self.contract.scale), out=target, casting="unsafe")


def preprocess(
    images: Sequence[Pixels],
    contract: InputContract,
    *,
    size: tuple[int, int] | None = None,
    out: NDArray[Any] | None = None,
    enlarge: bool = True,
) -> tuple[NDArray[Any], list[Letterbox]]:
    """Images (h, w, 3) uint8 BGR -> the contract's batch, and their letterboxes.

    The batch is a new array, or `out`. See `Preprocessor` for the arguments; it also avoids the allocation.
    """
    preprocessor = Preprocessor(contract)
    batch, boxes = preprocessor(
        images, size=size, rows=None if out is None else len(out), out=out, enlarge=enlarge
    )
    return batch, boxes


def letterbox(
    image: Pixels, size: tuple[int, int], pad_value: int = 114, *, enlarge: bool = True
) -> tuple[Pixels, Letterbox]:
    """The letterboxed picture itself.

    (h, w, 3) uint8 -> (height, width, 3) uint8, colour order as it was.
    """
    contract = InputContract(*size, dtype="uint8", layout="NHWC", color_order="BGR", pad_value=pad_value)
    batch, boxes = preprocess([image], contract, enlarge=enlarge)
    return batch[0], boxes[0]


def fit_long_side(image: Pixels, size: int) -> tuple[Pixels, float]:
    """Scale an image (h, w, 3) so that its long side has `size` pixels.

    Returns it with the ratio used.

    The first step of rectangular evaluation: area interpolation when the image shrinks, bilinear when it
    grows.
    """
    height, width = image.shape[:2]
    long = max(height, width)
    if long == size:
        return image, 1.0
    scaled = max(height * size // long, 1), max(width * size // long, 1)
    how = cv2.INTER_AREA if size < long else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, scaled[::-1], interpolation=how), np.uint8), size / long


def rectangular_shape(aspects: Sequence[float], size: int, stride: int) -> tuple[int, int]:
    """(height, width) of a rectangular evaluation batch.

    It follows from its images' aspects, height / width each.

    ceil(aspect * size / stride + 0.5) * stride on each axis; the batch's extreme aspect shortens one axis
    where all images are wide, or all are tall.
    """
    if not aspects:
        raise UsageError("a batch of no images has no shape")
    rows = min(max(aspects), 1.0)  # below 1 when every image is wide
    columns = min(1 / min(aspects), 1.0)  # below 1 when every image is tall
    height, width = (math.ceil(side * size / stride + 0.5) * stride for side in (rows, columns))
    return height, width


def _check_image(image: Pixels | PlanarImage) -> None:
    if isinstance(image, PlanarImage):
        return
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UsageError(
            f"image: expected an array (height, width, 3) of uint8 in BGR order, got {got}",
            hint="edgeyolo.runtime.images.read_image turns files, bytes, PIL images and other arrays into one.",
        )
    if not image.size:
        raise UsageError(f"image: it has no pixels, its shape is {image.shape}")
