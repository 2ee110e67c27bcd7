"""Table of labels that readers add to one by one.

They come out checked, image by image.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeyolo.datasets.image_size import read_header, read_stored_size
from edgeyolo.datasets.parse import EXACT
from edgeyolo.datasets.values import Outline, Problem, Sample
from edgeyolo.errors import ImageError

NOT_FINITE = "value not finite"
DEGENERATE = "degenerate box"
OUTSIDE = "box outside the image"
DUPLICATE = "duplicate label"
SWAPPED = "swapped image size"
_READERS = 16


@dataclass(frozen=True)
class ImageEntry:
    """An image to which labels will be attached.

    `source_id` is its id in the file, or one made from its name; `size` is (width, height) in pixels where it is
    known.
    """

    path: Path
    source_id: int | str
    size: tuple[int, int] | None = None


@dataclass
class LabelTable:
    """The labels of many images, column by column.

    Rows are in the unit that `Sample.rows` describes. Checking all of them at once is what keeps reading
    fast.
    """

    relative: bool = False
    _image: list[int] = field(default_factory=list)
    _class: list[int] = field(default_factory=list)
    _rows: list[Sequence[float]] = field(default_factory=list)
    _where: list[str] = field(default_factory=list)
    _crowd: list[bool] = field(default_factory=list)
    _difficult: list[bool] = field(default_factory=list)
    _area: list[float] = field(default_factory=list)
    _outlines: list[Outline] = field(default_factory=list)

    def add(
        self,
        image: int,
        class_id: int,
        row: Sequence[float],
        where: str,
        *,
        crowd: bool = False,
        difficult: bool = False,
        area: float | None = None,
        outline: Outline | None = None,
    ) -> None:
        """Add a label to image number `image`.

        `area` and `outline` are given for all labels or for none.
        """
        self._image.append(image)
        self._class.append(class_id)
        self._rows.append(row)
        self._where.append(where)
        self._crowd.append(crowd)
        self._difficult.append(difficult)
        if area is not None:
            self._area.append(area)
        if outline is not None:
            self._outlines.append(outline)

    def samples(self, images: Sequence[ImageEntry], problems: list[Problem]) -> tuple[Sample, ...]:
        """One sample per image with its labels in the order they were added.

        Bad boxes go to `problems`. Of labels that are the same in every number the first one is kept.
        """
        rows = np.array(self._rows, dtype=np.float64).reshape(-1, 4)
        owner = np.array(self._image, dtype=np.int64)
        if not self.relative:
            images = _settle_sizes(images, rows, owner, problems)
        faults = self._faults(rows, owner, images)
        faults[self._again(rows, owner) & (faults == "")] = DUPLICATE
        for i in np.flatnonzero(faults != ""):
            numbers = ", ".join(f"{value:g}" for value in rows[i])
            problems.append(Problem(str(faults[i]), self._where[i], f"[{numbers}]"))
        kept = np.flatnonzero(faults == "")
        kept = kept[np.argsort(owner[kept], kind="stable")]
        bounds = np.searchsorted(owner[kept], np.arange(len(images) + 1))
        columns = _Columns(
            np.array(self._class, dtype=np.int64)[kept],
            rows[kept],
            np.array(self._crowd, dtype=np.bool_)[kept],
            np.array(self._difficult, dtype=np.bool_)[kept],
            np.array(self._area, dtype=np.float64)[kept] if self._area else None,
            [self._outlines[i] for i in kept] if self._outlines else None,
        )
        image_numbers = _numbers([entry.source_id for entry in images])
        return tuple(
            columns.sample(entry, image_numbers[i], slice(bounds[i], bounds[i + 1]), self.relative)
            for i, entry in enumerate(images)
        )

    def _again(self, rows: NDArray[np.float64], owner: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) True for labels that repeat one before them.

        They are the same in image, class, box, crowd, difficult and area.
        """
        columns = [owner, self._class, self._crowd, self._difficult, *([self._area] if self._area else [])]
        table = np.concatenate([np.array(columns, dtype=np.float64).T, rows], axis=1) + 0.0  # -0.0 is 0.0
        again = np.ones(len(table), dtype=np.bool_)
        whole = np.ascontiguousarray(table).view(np.dtype((np.void, table.itemsize * table.shape[1]))).ravel()
        again[np.unique(whole, return_index=True)[1]] = False
        return again

    def _faults(
        self, rows: NDArray[np.float64], owner: NDArray[np.int64], images: Sequence[ImageEntry]
    ) -> NDArray[np.str_]:
        if self.relative:
            return find_faults(
                np.concatenate([rows[:, :2] - rows[:, 2:] / 2, rows[:, 2:]], axis=1), np.ones(2)
            )
        sizes = np.array([entry.size or (np.inf, np.inf) for entry in images], dtype=np.float64)
        return find_faults(rows, sizes.reshape(-1, 2)[owner])


@dataclass(frozen=True)
class _Columns:
    class_id: NDArray[np.int64]
    rows: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    area: NDArray[np.float64] | None
    outlines: list[Outline] | None

    def sample(self, entry: ImageEntry, number: int, part: slice, relative: bool) -> Sample:
        return Sample(
            entry.path,
            number,
            self.class_id[part],
            self.rows[part],
            self.crowd[part],
            self.difficult[part],
            relative=relative,
            declared_size=entry.size,
            declared_area=None if self.area is None else self.area[part],
            outlines=None if self.outlines is None else tuple(self.outlines[part]),
            source_id=entry.source_id,
        )


def image_ids(stems: Sequence[str]) -> list[int | str]:
    """Ids for images without one.

    They are the names where those are different numbers (as COCO's), else 1, 2, 3... Numbers that not every program
    reads exactly (above 2**53: stamps of recordings) stay text.
    """
    if all(stem.isdecimal() and stem.isascii() for stem in stems):
        small = all(len(stem.lstrip("0")) < len(str(EXACT)) for stem in stems)
        ids: list[int | str] = [int(stem) for stem in stems] if small else list(stems)
        if len(set(ids)) == len(ids):
            return ids
    return list(range(1, len(stems) + 1))


def _numbers(ids: Sequence[int | str]) -> list[int]:
    """1, 2, 3... in the order of the ids, or as listed where some are text.

    Evaluators go through COCO's images in the order of their ids.
    """
    order: Sequence[int] = range(len(ids))
    if all(isinstance(each, int) for each in ids):
        order = sorted(order, key=ids.__getitem__)
    numbers = [0] * len(ids)
    for number, place in enumerate(order, start=1):
        numbers[place] = number
    return numbers


def _settle_sizes(
    images: Sequence[ImageEntry],
    rows: NDArray[np.float64],
    owner: NDArray[np.int64],
    problems: list[Problem],
) -> list[ImageEntry]:
    """The images with their own sizes where the annotations say height x width.

    Every image's own header decides: a set may be swapped in part, where it was put together from several.
    """
    sizes = np.array([entry.size or (np.inf, np.inf) for entry in images], dtype=np.float64).reshape(-1, 2)
    with np.errstate(invalid="ignore"):
        beyond = set(owner[((rows[:, :2] + rows[:, 2:]) > sizes[owner] + 1).any(axis=1)].tolist())
    with ThreadPoolExecutor(_READERS) as pool:  # a disk answers many questions at once
        found = pool.map(
            lambda i: _is_swapped(images[i], beyond=i in beyond), range(len(images)), chunksize=256
        )
        swapped = [i for i, is_swapped in enumerate(found) if is_swapped]
    settled = list(images)
    for i in swapped:
        width, height = images[i].size or (0, 0)
        settled[i] = replace(images[i], size=(height, width))
        detail = f"the annotations say {width} x {height}, the image is {height} x {width}"
        problems.append(Problem(SWAPPED, str(images[i].path), detail))
    return settled


def _is_swapped(entry: ImageEntry, *, beyond: bool) -> bool:
    """True where width and height are the image's in the wrong order.

    An image that is stored sideways has both sizes: the annotations may be of the one that is stored, unless a box
    reaches out of that (`beyond`).
    """
    if entry.size is None or entry.size[0] == entry.size[1]:
        return False
    if not beyond and read_stored_size(entry.path) == entry.size:
        return False
    try:
        size, sideways = read_header(entry.path)
    except ImageError:  # whoever reads the image says so
        return False
    return size == entry.size[::-1] and (beyond or not sideways)


def find_faults(xywh: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.str_]:
    """(n,) what is wrong with each box, "" where nothing is.

    `xywh` (n, 4) and `size` = (width, height), as (2,) or (n, 2), are in one unit. A box that only sticks out
    of its image is no fault; one with no part inside is.
    """
    x, y, w, h = xywh.T
    width, height = np.broadcast_to(size, (len(xywh), 2)).T
    finite = np.isfinite(xywh).all(axis=1)
    with np.errstate(invalid="ignore"):
        degenerate = ~((w > 0) & (h > 0))
        outside = ~((x < width) & (y < height) & (x + w > 0) & (y + h > 0))
    return np.select([~finite, degenerate, outside], [NOT_FINITE, DEGENERATE, OUTSIDE], default="")
