"""Pictures from a data set's files.

They are read, kept in memory, and passed over where damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgeyolo.datasets import Dataset, Problem, Sample
from edgeyolo.errors import DatasetError, ImageError, UsageError
from edgeyolo.runtime.encoded_image import decode_small, fitting_part, scale_down
from edgeyolo.runtime.images import read_file
from edgeyolo.training.data.augment.geometry import moved, scale_to
from edgeyolo.training.data.augment.picture import Boxes, Outline, Picture

Cache = Literal["none", "encoded", "pixels"]


class PictureStore:
    """The pictures of a data set by number, crowds left out.

    cache: "none" reads files every time; "encoded" keeps their bytes (small; saves a slow disk); "pixels"
    keeps the decoded images with a long side of `size` (fast; 3 x size x size bytes each). Memory fills as
    pictures are used, or at once by `fill`. A picture that cannot be read is replaced by the next one that
    can, always the same, at the place that its own size would take.
    """

    def __init__(self, dataset: Dataset, *, cache: Cache = "none", size: int = 640) -> None:
        if cache not in get_args(Cache):
            raise UsageError(f"cache {cache!r}: expected one of {', '.join(get_args(Cache))}")
        self.dataset, self.cache, self.size = dataset, cache, size
        self._encoded: dict[int, bytes] = {}
        self._pictures: dict[int, Picture] = {}
        self._objects: dict[int, tuple[Boxes, NDArray[np.int64], tuple[Outline, ...]]] = {}
        self._broken: dict[int, Problem] = {}
        self._news: list[Problem] = []

    def __len__(self) -> int:
        return len(self.dataset)

    def size_of(self, index: int) -> tuple[int, int]:
        """(height, width) of picture number `index`, as annotated or from its header.

        Of one whose header cannot be read, it is the next one's that can.
        """
        for here in self._from(index):
            try:
                width, height = self.dataset.images[here].size
            except ImageError as error:
                self._pass_over(here, error)
            else:
                return height, width
        raise self._none()

    def aspects(self) -> NDArray[np.float64]:
        """(n,) height / width of all pictures."""
        return np.array([height / width for height, width in map(self.size_of, range(len(self)))])

    def load(self, index: int, wanted: tuple[int, int]) -> Picture:
        """Picture number `index`, or the next one that can be read, and its objects.

        It has at least the `wanted` (height, width) where its file or the memory has so many pixels, and may have
        been scaled down by a whole number. DatasetError where no picture can be read.
        """
        for here in self._from(index):
            try:
                return self._read(here, wanted)
            except ImageError as error:
                self._pass_over(here, error)
        raise self._none()

    def fill(self) -> None:
        """Read everything into memory now, so that processes forked later share it."""
        for index in range(len(self)):
            self.load(index, (1, 1))

    def news(self) -> tuple[Problem, ...]:
        """The damaged images found since the last call."""
        found, self._news = tuple(self._news), []
        return found

    def _from(self, index: int) -> Iterator[int]:
        """Numbers from `index` on, round to it, without those known to be damaged."""
        for step in range(len(self)):
            here = (index + step) % len(self)
            if here not in self._broken:
                yield here

    def _pass_over(self, index: int, error: ImageError) -> None:
        problem = Problem("damaged image", str(self.dataset.images[index].path), error.message)
        self._broken[index] = problem
        self._news.append(problem)

    def _none(self) -> DatasetError:
        return DatasetError(
            f"{self.dataset.source}: none of the {len(self)} images can be read; the first: {self._broken[0]}"
        )

    def _read(self, index: int, wanted: tuple[int, int]) -> Picture:
        if self.cache == "pixels":
            return _reduced(self._in_memory(index), wanted)
        return self._decoded(index, self._bytes(index), wanted)

    def _in_memory(self, index: int) -> Picture:
        if index not in self._pictures:
            sample = self.dataset.images[index]
            full = self._decoded(index, read_file(sample.path), sample.size[::-1])
            self._pictures[index] = scale_to(full, self.size)
        return self._pictures[index]

    def _bytes(self, index: int) -> bytes:
        if index in self._encoded:
            return self._encoded[index]
        data = read_file(self.dataset.images[index].path)
        if self.cache == "encoded":
            self._encoded[index] = data
        return data

    def _decoded(self, index: int, data: bytes, wanted: tuple[int, int]) -> Picture:
        """The objects of a sample on its image.

        ImageError where the annotations are of an image of another size.
        """
        sample = self.dataset.images[index]
        decoded = decode_small(data, str(sample.path), wanted)
        height, width = decoded.size
        if sample.size != (width, height):
            raise ImageError(
                f"{sample.path}: the image is {width} x {height}, its annotations are for {sample.width} x "
                f"{sample.height}"
            )
        if index not in self._objects:
            self._objects[index] = _objects_of(sample)
        return _divided(Picture(decoded.pixels, *self._objects[index]), decoded.part)


def _objects_of(sample: Sample) -> tuple[Boxes, NDArray[np.int64], tuple[Outline, ...]]:
    real = np.flatnonzero(~sample.crowd)
    polygons = sample.polygons or ()
    return sample.boxes[real], sample.class_id[real], tuple(polygons[i] for i in real) if polygons else ()


def _reduced(picture: Picture, wanted: tuple[int, int]) -> Picture:
    part = fitting_part(picture.size, wanted)
    return _divided(picture.with_image(scale_down(picture.image, part)), part)


def _divided(picture: Picture, part: int) -> Picture:
    return picture if part == 1 else moved(picture, np.full(2, 1 / part), np.zeros(2))
