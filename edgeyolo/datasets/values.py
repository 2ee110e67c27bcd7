"""The nouns of a data set.

`Dataset`, its `Sample`s (one per image) and the `Problem`s met while reading.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeyolo.datasets.image_size import read_image_size

Outline = tuple[NDArray[np.float32], ...]  # the parts of one object's outline, each (k, 2) of x, y


@dataclass(frozen=True)
class Problem:
    """One thing that was wrong in a data set.

    What it names was left out; everything else was read.

    `kind` is "malformed label", "degenerate box", "box outside the image", "value not finite", "duplicate label",
    "unknown class", "unknown image", "missing image", "damaged image", "wrong image size", a reason of
    edgeyolo.support.folders (such as "hidden"), or one of those that leave nothing out: "missing label file" (its
    image has no objects), "swapped image size" (the image's own is taken), "unusable area" (the box's is).
    """

    kind: str
    where: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}" + (f": {self.detail}" if self.detail else "")


def describe_problems(problems: Iterable[Problem], *, examples: int = 3) -> list[str]:
    """One sentence per kind of problem, with its count and the first few places."""
    by_kind: dict[str, list[Problem]] = {}
    for problem in problems:
        by_kind.setdefault(problem.kind, []).append(problem)
    lines = []
    for kind, found in by_kind.items():
        places = "; ".join(f"{p.where} ({p.detail})" if p.detail else p.where for p in found[:examples])
        more = f"; and {len(found) - examples} more" if len(found) > examples else ""
        lines.append(f"{len(found)} x {kind}: {places}{more}")
    return lines


@dataclass(frozen=True, eq=False)
class Sample:
    """One image and its n objects.

    `image_id` is its number in the data set, whatever the file calls it; `source_id` is the id in the file, a number
    or text, where it has one.
    `rows` float64 (n, 4) are the boxes as the file gives them: `x, y, width, height` in pixels, or, where
    `relative`, YOLO's `centre x, centre y, width, height` as fractions of the image. `class_id` int64 (n,)
    indexes `Dataset.class_names`. `crowd` and `difficult` are bool (n,): COCO's `iscrowd`, VOC's `difficult`.
    `declared_size` is (width, height) in pixels where the annotations state it. `outlines`, where they were
    asked for and exist, are each object's polygons in the same unit as `rows`.
    """

    path: Path
    image_id: int
    class_id: NDArray[np.int64]
    rows: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    relative: bool = False
    declared_size: tuple[int, int] | None = None
    declared_area: NDArray[np.float64] | None = None
    outlines: tuple[Outline, ...] | None = None
    source_id: int | str | None = None

    def __len__(self) -> int:
        return len(self.class_id)

    @cached_property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels.

        As declared, else from the image's header, upright by its EXIF tag.
        """
        return self.declared_size or read_image_size(self.path)

    @property
    def file_id(self) -> int | str:
        """The image's id in files: that of the annotations, else its number."""
        return self.image_id if self.source_id is None else self.source_id

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.size[0]

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.size[1]

    @cached_property
    def xywh(self) -> NDArray[np.float64]:
        """(n, 4) `x, y, width, height` in pixels, as COCO has them.

        Neither clipped nor rounded.
        """
        if not self.relative:
            return self.rows
        pixels = self.rows * np.array(self.size * 2, dtype=np.float64)
        pixels[:, :2] -= pixels[:, 2:] / 2
        return pixels

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(n, 4) float32 `x1, y1, x2, y2` in pixels, clipped to the image."""
        corners = np.concatenate([self.xywh[:, :2], self.xywh[:, :2] + self.xywh[:, 2:]], axis=1)
        limits = np.array(self.size * 2, dtype=np.float64)
        return np.asarray(np.clip(corners, 0, limits), dtype=np.float32)

    @property
    def area(self) -> NDArray[np.float64]:
        """(n,) object areas in square pixels.

        As declared (COCO: of the segmentation), else of the box.
        """
        if self.declared_area is not None:
            return self.declared_area
        return np.asarray(self.xywh[:, 2] * self.xywh[:, 3])

    @property
    def polygons(self) -> tuple[Outline, ...] | None:
        """Each object's outlines as float32 (k, 2) arrays of `x, y` in pixels.

        None where none were kept.
        """
        if self.outlines is None or not self.relative:
            return self.outlines
        scale = np.array(self.size, dtype=np.float32)
        return tuple(tuple(part * scale for part in parts) for parts in self.outlines)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with ground truth.

    `category_ids[k]` is the id that class k has in the annotation file (COCO's 80 classes have ids up to 90), a number
    or text; 1, 2, 3... for the formats without ids. `format` is "coco", "yolo" or "voc". `problems` lists what was
    left out.
    """

    name: str
    format: str
    source: Path
    class_names: tuple[str, ...]
    category_ids: tuple[int | str, ...]
    images: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def objects(self) -> int:
        """Number of boxes in all images."""
        return sum(len(sample) for sample in self.images)
