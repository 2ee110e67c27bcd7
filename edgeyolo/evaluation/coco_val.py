"""Images of COCO val2017: all 5,000, or the 1,525 of them that MLPerf uses.

MLPerf leaves out what no product may show: it takes the images whose licence, which COCO's annotation file names for
each, is not for non-commercial use only. That is a rule, so no list of ids has to be kept here; a list may be given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeyolo.datasets import Dataset, Sample
from edgeyolo.errors import DatasetError, UsageError

FREE = "free"
CATEGORY_IDS = tuple(i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
"""COCO's ids of its 80 classes, in their order."""
WHOLE, FREE_PART = 5000, 1525


def only(dataset: Dataset, ids: str | Path) -> Dataset:
    """The images of a data set that are listed.

    ids: a file of COCO's image ids, one a line or a JSON list; "free" takes those that MLPerf takes of val2017.
    Raises UsageError for a list that names others, DatasetError where licences are not stated.
    """
    wanted = _free_ids(dataset) if str(ids) == FREE else _listed(Path(ids))
    found = {_id(sample): sample for sample in dataset.images}
    missing = sorted(wanted - found.keys())
    if missing or not wanted:
        raise UsageError(
            f"{ids}: {len(missing)} of its {len(wanted)} images are not in {dataset.source}"
            + (f", such as {missing[0]}" if missing else ""),
            hint="Expected ids of COCO's images, one a line, such as 139 for 000000000139.jpg.",
        )
    kept = (sample for sample in dataset.images if _id(sample) in wanted)
    images = tuple(replace(sample, image_id=number) for number, sample in enumerate(kept))
    return replace(dataset, images=images)


def require_coco_val(dataset: Dataset) -> str:
    """A sentence on which of COCO val2017's images these are.

    Raises UsageError where they are neither all nor MLPerf's, so that their AP would be compared with no other.
    """
    if dataset.category_ids != CATEGORY_IDS:
        raise UsageError(
            f"{dataset.source}: {len(dataset.class_names)} classes that are not COCO's 80 under COCO's ids",
            hint="--preset coco-val takes COCO's own instances_val2017.json.",
        )
    if len(dataset) == WHOLE:
        return "COCO val2017, all 5,000 images"
    if len(dataset) == FREE_PART:
        return "the 1,525 images of COCO val2017 that MLPerf takes: AP is not that of all 5,000"
    raise UsageError(
        f"{dataset.source}: {len(dataset):,} images; COCO val2017 has {WHOLE:,}, MLPerf's part of it {FREE_PART:,}",
        hint="--ids free takes MLPerf's part of the whole; without --preset any images are measured on.",
    )


def _id(sample: Sample) -> int:
    """COCO's id of an image, which is in its file's name too; -1 where there is none."""
    if isinstance(sample.source_id, int):
        return sample.source_id
    return int(sample.path.stem) if sample.path.stem.isdecimal() else -1


def _listed(path: Path) -> set[int]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as a list of image ids ({error})") from error
    try:
        values = json.loads(text) if text.lstrip().startswith("[") else text.split()
        return {_number(value) for value in values}
    except ValueError as error:
        raise UsageError(f"{path}: expected image ids, one a line ({error})") from error


def _number(value: Any) -> int:
    """An id, or the name of an image file with it."""
    return int(Path(value).stem) if isinstance(value, str) else int(value)


def _free_ids(dataset: Dataset) -> set[int]:
    """Ids of images whose licence is not for non-commercial use only."""
    if dataset.format != "coco":
        raise DatasetError(f"{dataset.source}: only COCO's annotation files name the licence of each image")
    file = json.loads(dataset.source.read_text(encoding="utf-8"))
    licences = _objects(file.get("licenses"))
    free = {each.get("id") for each in licences if "/by-nc" not in str(each.get("url", "/by-nc"))}
    images = _objects(file.get("images"))
    if not free or not any("license" in image for image in images):
        raise DatasetError(f"{dataset.source}: it does not name the licences of its images")
    return {image["id"] for image in images if image.get("license") in free and type(image.get("id")) is int}


def _objects(value: Any) -> Iterable[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
