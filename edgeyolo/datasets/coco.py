"""Reader of COCO json.

`images`, `annotations` and `categories` in one file, the image files in a folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeyolo.datasets.image_size import read_image_size
from edgeyolo.datasets.parse import flag, identifier, parse_number, pixel_size, plain_id, shortened
from edgeyolo.datasets.table import ImageEntry, LabelTable
from edgeyolo.datasets.values import Dataset, Outline, Problem
from edgeyolo.errors import DatasetError, ImageError
from edgeyolo.support.reading import is_regular, read_regular


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
    index: dict[str, int | None] = {}  # image id -> number of its entry; None for an image that is not there
    for record in records:
        entry = _entry(record, folder, problems, need_image=need_images)
        index[identifier(record["id"])] = len(entries) if entry else None
        if entry:
            entries.append(entry)
    if not entries:
        raise DatasetError(
            f"{file}: none of its {len(records)} images is in {folder}",
            hint="Put the images beside the file, or name their folder.",
        )
    classes = {identifier(category): i for i, category in enumerate(ids)}
    table = _labels(data["annotations"], index, classes, problems, polygons=polygons)
    samples = table.samples(entries, problems)
    return Dataset(file.stem, "coco", file, names, ids, samples, tuple(problems))


def _entry(
    record: dict[str, Any], folder: Path, problems: list[Problem], *, need_image: bool
) -> ImageEntry | None:
    """Image of a record, of its own size where the record has none.

    None, with a problem, where there is no image.
    """
    path = folder / record["file_name"]
    size = pixel_size(record.get("width"), record.get("height"))
    if not need_image:
        return ImageEntry(path, plain_id(record["id"]), size)
    if not is_regular(path):
        problems.append(Problem("missing image", str(path)))
        return None
    try:
        return ImageEntry(path, plain_id(record["id"]), size or read_image_size(path))
    except ImageError as error:
        problems.append(Problem("damaged image", str(path), error.message))
        return None


def read_json(file: Path) -> Any:
    """The parsed content of a json file.

    DatasetError where it cannot be read or is no json.
    """
    try:
        return json.loads(read_regular(file, error=DatasetError))
    except FileNotFoundError as error:
        raise DatasetError(f"{file}: there is no such file") from error
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
        if not (_is_id(record.get("id")) and isinstance(record.get("file_name"), str)):
            needs = "an `id` and a `file_name`"
            raise DatasetError(f"{file}: images[{i}] needs {needs}; it is {shortened(record)}")
    if not records:
        raise DatasetError(f"{file}: its list of images is empty")
    _require_unique([identifier(record["id"]) for record in records], f"{file}: two images have the id")
    return records


def _is_list_of_objects(data: Any, key: str) -> bool:
    records = data.get(key) if isinstance(data, dict) else None
    return isinstance(records, list) and all(isinstance(record, dict) for record in records)


def _is_id(value: Any) -> bool:
    try:
        return bool(identifier(value))
    except ValueError:
        return False


def _require_unique(values: Iterable[str], message: str) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise DatasetError(f"{message} {value}")
        seen.add(value)


def _categories(data: dict[str, Any], file: Path) -> tuple[tuple[str, ...], tuple[int | str, ...]]:
    categories = data["categories"]
    for i, category in enumerate(categories):
        name = category.get("name")
        if not (_is_id(category.get("id")) and isinstance(name, str | int) and not isinstance(name, bool)):
            needs = "an `id` and a `name`"
            raise DatasetError(f"{file}: categories[{i}] needs {needs}; it is {shortened(category)}")
    keys = [identifier(category["id"]) for category in categories]
    if all(key.isdecimal() and key.isascii() for key in keys):
        categories = sorted(categories, key=lambda category: _by_value(identifier(category["id"])))
    names = tuple(str(category["name"]) for category in categories)
    _require_unique(keys, f"{file}: two categories have the id")
    _require_unique(map(repr, names), f"{file}: two categories have the name")
    return names, tuple(plain_id(category["id"]) for category in categories)


def _by_value(digits: str) -> tuple[int, str]:
    """Sorts whole numbers of any length."""
    bare = digits.lstrip("0")
    return len(bare), bare


def _labels(
    annotations: list[dict[str, Any]],
    index: Mapping[str, int | None],
    classes: Mapping[str, int],
    problems: list[Problem],
    *,
    polygons: bool,
) -> LabelTable:
    table = LabelTable()
    for i, annotation in enumerate(annotations):
        where = f"annotation {shortened(annotation['id']) if 'id' in annotation else f'number {i}'}"
        try:
            image, category = _owner(annotation, index, classes)
            x, y, w, h = map(parse_number, annotation["bbox"])
            crowd, difficult = (flag(annotation.get(key), key) for key in ("iscrowd", "difficult"))
            outline = _outline(annotation.get("segmentation")) if polygons else None
        except _UnknownIdError as unknown:
            problems.append(Problem(unknown.kind, where, str(unknown)))
            continue
        except (KeyError, TypeError, ValueError) as error:
            missing = [key for key in ("image_id", "category_id", "bbox") if key not in annotation]
            detail = f"no {', '.join(missing)}" if missing else str(error)
            problems.append(Problem("malformed label", where, detail))
            continue
        if image is not None:
            area = _area(annotation.get("area"), w * h, where, problems)
            row = (x, y, w, h)
            table.add(
                image, category, row, where, crowd=crowd, difficult=difficult, area=area, outline=outline
            )
    return table


class _UnknownIdError(Exception):
    """An id that nothing in the file has."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def _owner(
    annotation: dict[str, Any], index: Mapping[str, int | None], classes: Mapping[str, int]
) -> tuple[int | None, int]:
    """The image's entry, None for one that is missing, and the class."""
    image, category = identifier(annotation["image_id"]), identifier(annotation["category_id"])
    if image not in index:
        raise _UnknownIdError("unknown image", f"image_id {shortened(annotation['image_id'])}")
    if category not in classes:
        raise _UnknownIdError("unknown class", f"category_id {shortened(annotation['category_id'])}")
    return index[image], classes[category]


def _area(value: Any, of_box: float, where: str, problems: list[Problem]) -> float:
    """The object's area, or that of its box.

    The box's is taken where the file gives none, or, with a problem, none that can be used.
    """
    if value is None:
        return of_box
    try:
        area = parse_number(value)
    except ValueError:
        area = math.nan
    if math.isfinite(area) and area >= 0:
        return area
    problems.append(Problem("unusable area", where, f"{shortened(value)}: that of the box is taken"))
    return of_box


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
    found = [sum(is_regular(folder / name) for name in probe) for folder in candidates]
    return candidates[int(np.argmax(found))] if any(found) else file.parent
