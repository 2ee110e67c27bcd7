"""Reader of COCO json.

`images`, `annotations` and `categories` in one file, the image files in a folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeyolo.datasets.table import ImageEntry, LabelTable
from edgeyolo.datasets.values import Dataset, Outline, Problem
from edgeyolo.errors import DatasetError


def read_coco(
    file: Path, *, image_folder: Path | None = None, polygons: bool = False, need_images: bool = True
) -> Dataset:
    """Read a COCO annotation file.

    Classes are numbered in the order of their category ids.

    `image_folder` holds the image files; without it the usual places beside the file are tried. Where
    `need_images` is false, image files are neither looked for nor missed. `polygons` keeps the outlines.
    """
    data = read_json(file)
    records = _records(data, file)
    names, ids = _categories(data, file)
    problems: list[Problem] = []
    folder = image_folder or file.parent
    if need_images and image_folder is None:
        folder = _find_folder(file, [record["file_name"] for record in records])
    entries: list[ImageEntry] = []
    index: dict[int, int | None] = {}  # image id -> number of its entry; None for an image that is missing
    for record in records:
        path = folder / record["file_name"]
        there = path.is_file() if need_images else True
        index[record["id"]] = len(entries) if there else None
        if there:
            entries.append(ImageEntry(path, record["id"], (record["width"], record["height"])))
        else:
            problems.append(Problem("missing image", str(path)))
    if not entries:
        raise DatasetError(
            f"{file}: none of its {len(records)} images is in {folder}",
            hint="Put the images beside the file, or name their folder.",
        )
    classes = {category: i for i, category in enumerate(ids)}
    table = _labels(data["annotations"], index, classes, problems, polygons=polygons)
    samples = table.samples(entries, problems)
    return Dataset(file.stem, "coco", file, names, ids, samples, tuple(problems))


def read_json(file: Path) -> Any:
    """The parsed content of a json file.

    DatasetError where it cannot be read or is no json.
    """
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{file}: not valid json: {error}") from error


def _records(data: Any, file: Path) -> list[dict[str, Any]]:
    """The image records, checked."""
    shape = "a COCO annotation file is an object with the lists `images`, `annotations` and `categories`"
    if isinstance(data, list):
        raise DatasetError(f"{file}: {shape}; this is a list", hint="A list is COCO's form for detections.")
    missing = [k for k in ("images", "annotations", "categories") if not _is_list_of_objects(data, k)]
    if missing:
        raise DatasetError(f"{file}: {shape}; {' and '.join(missing)} missing or of another kind")
    records: list[dict[str, Any]] = data["images"]
    for i, record in enumerate(records):
        size_given = all(_is_integer(record.get(k)) and record[k] > 0 for k in ("width", "height"))
        if not (_is_integer(record.get("id")) and isinstance(record.get("file_name"), str) and size_given):
            needs = "an integer `id`, a `file_name`, `width` and `height`"
            raise DatasetError(f"{file}: images[{i}] needs {needs}; it is {_short(record)}")
    if not records:
        raise DatasetError(f"{file}: its list of images is empty")
    _require_unique([record["id"] for record in records], f"{file}: two images have the id")
    return records


def _is_list_of_objects(data: Any, key: str) -> bool:
    records = data.get(key) if isinstance(data, dict) else None
    return isinstance(records, list) and all(isinstance(record, dict) for record in records)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value: Any, limit: int = 100) -> str:
    text = json.dumps(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _require_unique(values: list[Any], message: str) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise DatasetError(f"{message} {value!r}")
        seen.add(value)


def _categories(data: dict[str, Any], file: Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
    for i, category in enumerate(data["categories"]):
        if not (_is_integer(category.get("id")) and isinstance(category.get("name"), str)):
            needs = "an integer `id` and a `name`"
            raise DatasetError(f"{file}: categories[{i}] needs {needs}; it is {_short(category)}")
    categories = sorted(data["categories"], key=lambda category: int(category["id"]))
    _require_unique([category["id"] for category in categories], f"{file}: two categories have the id")
    _require_unique([category["name"] for category in categories], f"{file}: two categories have the name")
    return tuple(c["name"] for c in categories), tuple(c["id"] for c in categories)


def _labels(
    annotations: list[dict[str, Any]],
    index: Mapping[int, int | None],
    classes: Mapping[int, int],
    problems: list[Problem],
    *,
    polygons: bool,
) -> LabelTable:
    table = LabelTable()
    for i, annotation in enumerate(annotations):
        where = f"annotation {annotation.get('id', f'number {i}')}"
        try:
            image, category = index[annotation["image_id"]], classes[annotation["category_id"]]
            x, y, w, h = map(float, annotation["bbox"])
            area = float(annotation.get("area", w * h))
            outline = _outline(annotation.get("segmentation")) if polygons else None
        except (KeyError, TypeError, ValueError) as error:
            problems.append(_explain(annotation, where, error, index, classes))
            continue
        if image is not None:
            table.add(
                image,
                category,
                (x, y, w, h),
                where,
                crowd=bool(annotation.get("iscrowd", 0)),
                difficult=bool(annotation.get("difficult", 0)),
                area=area,
                outline=outline,
            )
    return table


def _explain(
    annotation: dict[str, Any],
    where: str,
    error: Exception,
    index: Mapping[int, int | None],
    classes: Mapping[int, int],
) -> Problem:
    image, category = annotation.get("image_id"), annotation.get("category_id")
    if _is_integer(image) and image not in index:
        return Problem("unknown image", where, f"image_id {image}")
    if _is_integer(category) and category not in classes:
        return Problem("unknown class", where, f"category_id {category}")
    missing = [key for key in ("image_id", "category_id", "bbox") if key not in annotation]
    return Problem("malformed label", where, f"no {', '.join(missing)}" if missing else str(error))


def _outline(segmentation: Any) -> Outline:
    """COCO polygons as (k, 2) arrays; a crowd's run-length mask has none."""
    if not isinstance(segmentation, list):
        return ()
    parts = [np.asarray(part, dtype=np.float32) for part in segmentation]
    return tuple(part.reshape(-1, 2) for part in parts if part.size >= 6 and part.size % 2 == 0)


def _find_folder(file: Path, names: list[str]) -> Path:
    """The folder beside `file` that holds most of its images."""
    parts = file.stem.split("_")
    stems = [part for part in (parts[-1], parts[0], file.stem) if part]
    roots = [file.parent, file.parent / "images", file.parent / "JPEGImages"]
    roots += [file.parent.parent / "images", file.parent.parent]
    candidates = [folder for root in roots for folder in (root, *(root / stem for stem in stems))]
    probe = names[:: max(1, len(names) // 20)]
    found = [sum((folder / name).is_file() for name in probe) for folder in candidates]
    return candidates[int(np.argmax(found))] if any(found) else file.parent
