"""Pictures from a data set's files.

They are read, kept in memory, and passed over where damaged.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from edgeyolo.datasets import Dataset, Problem, Sample
from edgeyolo.errors import DatasetError, ImageError, UsageError
from edgeyolo.runtime.encoded_image import decode_image
from edgeyolo.runtime.images import read_file, read_image
from edgeyolo.training.data.augment.geometry import scale_to
from edgeyolo.training.data.augment.picture import Picture

Cache = Literal["none", "encoded", "pixels"]


class PictureStore:
    """The pictures of a data set by number, crowds left out.

    cache: "none" reads files every time; "encoded" keeps their bytes (small; saves a slow disk); "pixels"
    keeps the decoded images with a long side of `size` (fast; 3 x size x size bytes each). Memory fills as
    pictures are used, or at once by `fill`. A picture that cannot be read is replaced by the next one that
    can, always the same.
    """

    def __init__(self, dataset: Dataset, *, cache: Cache = "none", size: int = 640) -> None:
        if cache not in get_args(Cache):
            raise UsageError(f"cache {cache!r}: expected one of {', '.join(get_args(Cache))}")
        self.dataset, self.cache, self.size = dataset, cache, size
        self._encoded: dict[int, bytes] = {}
        self._pictures: dict[int, Picture] = {}
        self._broken: dict[int, Problem] = {}
        self._news: list[Problem] = []

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Picture:
        """Picture number `index`, or the next one that can be read.

        DatasetError where none can.
        """
        for step in range(len(self)):
            here = (index + step) % len(self)
            if here in self._broken:
                continue
            try:
                return self._read(here)
            except ImageError as error:
                problem = Problem("damaged image", str(self.dataset.images[here].path), error.message)
                self._broken[here] = problem
                self._news.append(problem)
        raise DatasetError(
            f"{self.dataset.source}: none of the {len(self)} images can be read; the first: {self._broken[0]}"
        )

    def fill(self) -> None:
        """Read everything into memory now, so that processes forked later share it."""
        for index in range(len(self)):
            self[index]

    def news(self) -> tuple[Problem, ...]:
        """The damaged images found since the last call."""
        found, self._news = tuple(self._news), []
        return found

    def _read(self, index: int) -> Picture:
        if index in self._pictures:
            return self._pictures[index]
        sample = self.dataset.images[index]
        image = self._from_bytes(index, sample) if self.cache == "encoded" else read_image(sample.path)
        picture = make_picture(sample, image)
        if self.cache == "pixels":
            picture = self._pictures[index] = scale_to(picture, self.size)
        return picture

    def _from_bytes(self, index: int, sample: Sample) -> np.ndarray:
        if index not in self._encoded:
            self._encoded[index] = read_file(sample.path)
        return decode_image(self._encoded[index], str(sample.path))


def make_picture(sample: Sample, image: np.ndarray) -> Picture:
    """The objects of a sample on its image.

    ImageError where the annotations are of an image of another size.
    """
    height, width = image.shape[:2]
    if sample.size != (width, height):
        raise ImageError(
            f"{sample.path}: the image is {width} x {height}, its annotations are for {sample.width} x "
            f"{sample.height}"
        )
    real = np.flatnonzero(~sample.crowd)
    polygons = sample.polygons or ()
    outlines = tuple(polygons[i] for i in real) if polygons else ()
    return Picture(image, sample.boxes[real], sample.class_id[real], outlines)
