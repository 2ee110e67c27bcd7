"""Pascal VOC folders.

`Annotations/*.xml`, `JPEGImages/`, `ImageSets/Main/<split>.txt`.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeyolo.datasets.image_size import read_image_size
from edgeyolo.datasets.table import ImageEntry, LabelTable, image_ids
from edgeyolo.datasets.values import Dataset, Problem
from edgeyolo.errors import DatasetError, ImageError
from edgeyolo.runtime.images import IMAGE_SUFFIXES

_SPLIT_ORDER = ("val", "test", "trainval", "train")


@dataclass(frozen=True)
class _Object:
    name: str
    corners: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class _Annotation:
    file: Path
    size: tuple[int, int] | None
    filename: str
    objects: tuple[_Object, ...]


def read_voc(
    folder: Path,
    split: str | None = None,
    *,
    class_names: Sequence[str] | None = None,
    need_images: bool = True,
) -> Dataset:
    """Read one split of a VOC folder.

    A box is `xmin, ymin, xmax - xmin, ymax - ymin` of the numbers in the file (no one-pixel shift), as VOC
    sets are usually turned into COCO json. VOC has no list of classes: without `class_names` they are the
    names found in all of `Annotations/`, whatever the split, in alphabetical order.
    """
    name, stems = _split_members(folder, split)
    problems: list[Problem] = []
    annotations = {stem: _read_xml(folder / "Annotations" / f"{stem}.xml", problems) for stem in stems}
    names = tuple(class_names) if class_names is not None else _all_names(folder, annotations)
    ids = image_ids(stems)
    entries: list[ImageEntry] = []
    table = LabelTable()
    for image_id, found in zip(ids, annotations.values(), strict=True):
        if found is None:
            continue
        entry = _entry(folder, image_id, found, problems, need_image=need_images)
        if entry is not None:
            _add_objects(table, len(entries), found, names, problems)
            entries.append(entry)
    if not entries:
        raise DatasetError(f"{folder}: no usable image in its split {name!r}: {problems[0]}")
    categories = tuple(range(1, len(names) + 1))
    samples = table.samples(entries, problems)
    return Dataset(
        f"{folder.resolve().name}-{name}", "voc", folder, names, categories, samples, tuple(problems)
    )


def _split_members(folder: Path, split: str | None) -> tuple[str, list[str]]:
    """The split's name and the stems of its images.

    Without any split files, every annotation.
    """
    lists = {file.stem: file for file in sorted((folder / "ImageSets" / "Main").glob("*.txt"))}
    if split is None:
        split = next((name for name in _SPLIT_ORDER if name in lists), None)
    if split is None and not lists:
        return "all", sorted(file.stem for file in (folder / "Annotations").glob("*.xml"))
    if split not in lists:
        raise DatasetError(
            f"{folder}: no split {split!r}: ImageSets/Main has {', '.join(lists) or 'no lists'}",
            hint="Name one of its lists as the split.",
        )
    lines = lists[split].read_text(encoding="utf-8").splitlines()
    stems = list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
    if not stems:
        raise DatasetError(f"{lists[split]}: the list is empty")
    return split, stems


def _read_xml(file: Path, problems: list[Problem]) -> _Annotation | None:
    """One annotation file; None, with a problem, where there is none that can be read."""
    if not file.is_file():
        problems.append(Problem("missing label file", str(file)))
        return _Annotation(file, None, "", ())
    try:
        root = ET.fromstring(file.read_bytes())
    except (OSError, ET.ParseError, ValueError) as error:
        problems.append(Problem("malformed label", str(file), str(error)))
        return None
    objects = []
    for number, element in enumerate(root.findall("object"), start=1):
        try:
            objects.append(_read_object(element))
        except (TypeError, ValueError) as error:
            problems.append(Problem("malformed label", f"{file}, object {number}", str(error)))
    filename = (root.findtext("filename") or "").strip()
    return _Annotation(file, _declared_size(root), filename, tuple(objects))


def _read_object(element: ET.Element) -> _Object:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise ValueError("it has no name")
    values = [element.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
    if any(value is None for value in values):
        raise ValueError("its bndbox is not complete")
    x1, y1, x2, y2 = (float(value) for value in values if value is not None)
    return _Object(name, (x1, y1, x2, y2), (element.findtext("difficult") or "0").strip() == "1")


def _declared_size(root: ET.Element) -> tuple[int, int] | None:
    texts = [(root.findtext(f"size/{key}") or "").strip() for key in ("width", "height")]
    if not all(text.isdecimal() and int(text) > 0 for text in texts):
        return None  # some tools write 0 x 0: the image's header knows better
    return int(texts[0]), int(texts[1])


def _all_names(folder: Path, known: dict[str, _Annotation | None]) -> tuple[str, ...]:
    names = {item.name for found in known.values() if found for item in found.objects}
    unlisted: list[Problem] = []  # faults in other splits are those splits' to report
    for file in (folder / "Annotations").glob("*.xml"):
        found = None if file.stem in known else _read_xml(file, unlisted)
        names.update(item.name for item in (found.objects if found else ()))
    return tuple(sorted(names))


def _entry(
    folder: Path, image_id: int, found: _Annotation, problems: list[Problem], *, need_image: bool
) -> ImageEntry | None:
    """Image and its size.

    None, with a problem, where there is no image or its size cannot be told.
    """
    stem = found.file.stem
    path = _find_image(folder / "JPEGImages", stem, found.filename)
    if path is None and need_image:
        problems.append(Problem("missing image", str(folder / "JPEGImages" / stem)))
        return None
    path = path or folder / "JPEGImages" / (found.filename or f"{stem}.jpg")
    if found.size is not None or not found.objects:
        return ImageEntry(path, image_id, found.size)
    try:
        return ImageEntry(path, image_id, read_image_size(path))
    except ImageError as error:
        problems.append(Problem("damaged image", str(path), error.message))
        return None


def _find_image(folder: Path, stem: str, filename: str) -> Path | None:
    suffixes = (".jpg", ".png", *sorted(IMAGE_SUFFIXES))
    names = [f"{stem}{suffix}" for suffix in (*suffixes, *(suffix.upper() for suffix in suffixes))]
    paths = (folder / name for name in (*names, filename) if name)
    return next((path for path in paths if path.is_file()), None)


def _add_objects(
    table: LabelTable, image: int, found: _Annotation, names: tuple[str, ...], problems: list[Problem]
) -> None:
    for number, item in enumerate(found.objects, start=1):
        where = f"{found.file}, object {number}"
        if item.name in names:
            x1, y1, x2, y2 = item.corners
            row = (x1, y1, x2 - x1, y2 - y1)
            table.add(image, names.index(item.name), row, where, difficult=item.difficult)
        else:
            problems.append(Problem("unknown class", where, item.name))
