"""Table of labels that readers add to one by one.

They come out checked, image by image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeyolo.datasets.values import Outline, Problem, Sample

NOT_FINITE = "value not finite"
DEGENERATE = "degenerate box"
OUTSIDE = "box outside the image"


@dataclass(frozen=True)
class ImageEntry:
    """An image to which labels will be attached.

    `size` is (width, height) in pixels where it is known.
    """

    path: Path
    image_id: int
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

        Bad boxes go to `problems`.
        """
        rows = np.array(self._rows, dtype=np.float64).reshape(-1, 4)
        owner = np.array(self._image, dtype=np.int64)
        faults = self._faults(rows, owner, images)
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
        return tuple(
            columns.sample(entry, slice(bounds[i], bounds[i + 1]), self.relative)
            for i, entry in enumerate(images)
        )

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

    def sample(self, entry: ImageEntry, part: slice, relative: bool) -> Sample:
        return Sample(
            entry.path,
            entry.image_id,
            self.class_id[part],
            self.rows[part],
            self.crowd[part],
            self.difficult[part],
            relative=relative,
            declared_size=entry.size,
            declared_area=None if self.area is None else self.area[part],
            outlines=None if self.outlines is None else tuple(self.outlines[part]),
        )


def image_ids(stems: Sequence[str]) -> list[int]:
    """Ids for images without one.

    They are the names where those are different numbers (as COCO's), else 1, 2, 3...
    """
    if all(stem.isdecimal() and stem.isascii() for stem in stems):
        ids = [int(stem) for stem in stems]
        if len(set(ids)) == len(ids):
            return ids
    return list(range(1, len(stems) + 1))


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
