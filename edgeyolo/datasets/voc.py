"""Pascal VOC folders.

`Annotations/*.xml`, `JPEGImages/`, `ImageSets/Main/<split>.txt`, or xml files beside the images.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from edgeyolo.datasets.image_size import read_image_size
from edgeyolo.datasets.parse import flag, parse_number, pixel_size
from edgeyolo.datasets.table import ImageEntry, LabelTable, image_ids
from edgeyolo.datasets.values import Dataset, Problem
from edgeyolo.errors import DatasetError, ImageError, MissingDatasetError
from edgeyolo.runtime.images import IMAGE_SUFFIXES
from edgeyolo.support.folders import is_hidden, walk_files
from edgeyolo.support.reading import MAX_TEXT, is_regular, read_regular, read_text

_SPLIT_ORDER = ("val", "test", "trainval", "train")
_FOLDERS = {"val": ("val", "valid", "validation")}  # as exports of labelling services call a part's folder
_ANNOTATIONS = ("Annotations", "annotations", ".")
_IMAGES = ("JPEGImages", "images", "Images")
_DECLARATION = re.compile(rb"\s*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_PRESENT = re.compile(r"\s+-?[01]$")  # in the list of a class: whether it is in the image
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030"}  # what programs write is more than what they declare


@dataclass(frozen=True)
class _Object:
    name: str
    corners: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class _Place:
    """Places of the parts of a VOC folder.

    `part` is the split that `annotations` is the folder of, or "".
    """

    annotations: Path
    images: tuple[Path, ...]
    lists: Path
    part: str = ""


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
    names found in all of `Annotations/`, whatever the split, in alphabetical order. Without `Annotations/`, the xml
    files lie beside the images, in the folder itself or in one for each split (train, valid, test).
    """
    place = _place(folder, split)
    if place is None:
        raise DatasetError(f"{folder}: no xml files in it, nor in a folder of its split {split!r}")
    problems: list[Problem] = []
    name, stems = _split_members(place, split, problems)
    annotations = {stem: _read_xml(place.annotations / f"{stem}.xml", problems) for stem in stems}
    names = tuple(class_names) if class_names is not None else _all_names(folder, place, annotations)
    ids = image_ids(stems)
    entries: list[ImageEntry] = []
    table = LabelTable()
    for source_id, found in zip(ids, annotations.values(), strict=True):
        if found is None:
            continue
        entry = _entry(place, source_id, found, problems, need_image=need_images)
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


def is_voc(folder: Path) -> bool:
    """True for a folder of VOC's form: its two folders, or xml files beside images."""
    if all((folder / part).is_dir() for part in ("Annotations", "JPEGImages")):
        return True
    return not any(folder.glob("*.json")) and _place(folder, None) is not None


def _place(folder: Path, split: str | None) -> _Place | None:
    """The parts of a VOC folder; None where it has no xml files."""
    lists = folder / "ImageSets" / "Main"
    for name in _ANNOTATIONS:
        if _has_xml(folder / name):
            images = (*(folder / images for images in _IMAGES), folder / name)
            return _Place(folder / name, tuple(dict.fromkeys(images)), lists)
    for part in (split,) if split else _SPLIT_ORDER:
        for name in _FOLDERS.get(part, (part,)):
            if _has_xml(folder / name):
                return _Place(folder / name, (folder / name,), lists, part)
    return None


def _has_xml(folder: Path) -> bool:
    return folder.is_dir() and any(not is_hidden(file.name) for file in folder.glob("*.xml"))


def _split_members(place: _Place, split: str | None, problems: list[Problem]) -> tuple[str, list[str]]:
    """The split's name and the stems of its images.

    Without any split files, every annotation.
    """
    files = place.lists.glob("*.txt")
    lists = {} if place.part else {file.stem: file for file in sorted(files) if not is_hidden(file.name)}
    if split is None:
        split = next((name for name in _SPLIT_ORDER if name in lists), None)
    if place.part or (split is None and not lists):
        found = walk_files(place.annotations, (".xml",), recursive=False)
        problems += [Problem(why, str(path)) for why, places in found.left_out.items() for path in places]
        return place.part or "all", [file.stem for file in found.files]
    if split not in lists:
        raise MissingDatasetError(
            f"{place.lists.parents[1]}: no split {split!r}: ImageSets/Main has {', '.join(lists) or 'no lists'}",
            hint="Name one of its lists as the split.",
        )
    lines = read_text(lists[split], error=DatasetError).splitlines()
    stems = list(dict.fromkeys(_stem(line, place.annotations) for line in lines if line.strip()))
    if not stems:
        raise DatasetError(f"{lists[split]}: the list is empty")
    return split, stems


def _stem(line: str, annotations: Path) -> str:
    """Name, without suffix, of the image in a line of a list.

    A line is `name`, `name.jpg`, a path, or `name 1` as in the list of a class.
    """
    words = [line.strip(), _PRESENT.sub("", line.strip()), line.split(maxsplit=1)[0]]
    names = [
        name for word in words for name in (_bare(PureWindowsPath(word).name), PureWindowsPath(word).name)
    ]
    return next((name for name in names if is_regular(annotations / f"{name}.xml")), _bare(words[-1]))


def _bare(name: str) -> str:
    path = PureWindowsPath(name)
    return path.stem if path.suffix.lower() in {*IMAGE_SUFFIXES, ".xml"} else name


def _read_xml(file: Path, problems: list[Problem]) -> _Annotation | None:
    """One annotation file; None, with a problem, where there is none that can be read."""
    if not is_regular(file):
        problems.append(Problem("missing label file", str(file)))
        return _Annotation(file, None, "", ())
    try:
        root = _parse_xml(read_regular(file, limit=MAX_TEXT, error=DatasetError))
    except (DatasetError, ET.ParseError, ValueError, LookupError) as error:
        detail = error.message.removeprefix(f"{file}: ") if isinstance(error, DatasetError) else str(error)
        problems.append(Problem("malformed label", str(file), detail))
        return None
    objects = []
    for number, element in enumerate(root.findall("object"), start=1):
        try:
            objects.append(_read_object(element))
        except (TypeError, ValueError) as error:
            problems.append(Problem("malformed label", f"{file}, object {number}", str(error)))
    filename = PureWindowsPath((root.findtext("filename") or "").strip()).name  # some tools write a path
    return _Annotation(file, _declared_size(root), filename, tuple(objects))


def _parse_xml(data: bytes) -> ET.Element:
    """Root of an xml file in any encoding that it declares.

    Expat alone does not read those of several bytes a character.

    Raises ET.ParseError, LookupError (an encoding that nobody knows) or ValueError.
    """
    declared = _DECLARATION.match(data)
    encoding = declared[1].decode("ascii").lower() if declared else "utf-8"
    if encoding.startswith(("utf", "ucs", "us-ascii")):
        try:
            return ET.fromstring(data)
        except ET.ParseError as error:
            if not data.startswith((b"\xff\xfe", b"\xfe\xff")):
                _require_utf8(data, error)
            raise
    return ET.fromstring(data.decode(_WIDER.get(encoding, encoding)))


def _require_utf8(data: bytes, error: ET.ParseError) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as wrong:
        advice = 'write its encoding into the first line, as in <?xml version="1.0" encoding="GB18030"?>'
        raise ValueError(
            f"its text is not UTF-8 (byte {wrong.start:,}), and it declares no other: {advice}"
        ) from error


def _read_object(element: ET.Element) -> _Object:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise ValueError("it has no name")
    values = [element.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
    if any(value is None for value in values):
        raise ValueError("its bndbox is not complete")
    x1, y1, x2, y2 = map(parse_number, values)
    return _Object(name, (x1, y1, x2, y2), flag(element.findtext("difficult"), "difficult"))


def _declared_size(root: ET.Element) -> tuple[int, int] | None:
    """(width, height) in the file; None where it has none, or 0 x 0 as of some tools."""
    return pixel_size(root.findtext("size/width"), root.findtext("size/height"))


def _all_names(folder: Path, place: _Place, known: dict[str, _Annotation | None]) -> tuple[str, ...]:
    """Names in every annotation, of all splits: classes do not depend on the split."""
    names = {item.name for found in known.values() if found for item in found.objects}
    others = [place]
    if place.part:
        others = [other for part in _SPLIT_ORDER if (other := _place(folder, part)) is not None]
    unlisted: list[Problem] = []  # faults in other splits are those splits' to report
    for other in others:
        for file in walk_files(other.annotations, (".xml",), recursive=False).files:
            mine = other.annotations == place.annotations and file.stem in known
            found = None if mine else _read_xml(file, unlisted)
            names.update(item.name for item in (found.objects if found else ()))
    return tuple(sorted(names))


def _entry(
    place: _Place, source_id: int | str, found: _Annotation, problems: list[Problem], *, need_image: bool
) -> ImageEntry | None:
    """Image and its size.

    None, with a problem, where there is no image or its size cannot be told.
    """
    stem = found.file.stem
    path = _find_image(place.images, stem, found.filename)
    if path is None and need_image:
        problems.append(Problem("missing image", str(place.images[0] / stem)))
        return None
    path = path or place.images[0] / (found.filename or f"{stem}.jpg")
    if found.size is not None or not found.objects:
        return ImageEntry(path, source_id, found.size)
    try:
        return ImageEntry(path, source_id, read_image_size(path))
    except ImageError as error:
        problems.append(Problem("damaged image", str(path), error.message))
        return None


def _find_image(folders: Sequence[Path], stem: str, filename: str) -> Path | None:
    suffixes = (".jpg", ".png", *sorted(IMAGE_SUFFIXES))
    names = [f"{stem}{suffix}" for suffix in (*suffixes, *(suffix.upper() for suffix in suffixes))]
    paths = (folder / name for folder in folders for name in (*names, filename) if name)
    return next((path for path in paths if is_regular(path)), None)


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
