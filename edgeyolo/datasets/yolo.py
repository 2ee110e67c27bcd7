"""YOLO data sets.

A `data.yaml`, folders (or lists) of images, and a txt file of labels per image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeyolo.datasets.table import ImageEntry, LabelTable, image_ids
from edgeyolo.datasets.values import Dataset, Outline, Problem
from edgeyolo.errors import DatasetError, RuntimeMissingError
from edgeyolo.runtime.images import IMAGE_SUFFIXES

_SPLITS = ("val", "test", "train")


def read_yolo(
    file: Path, split: str | None = None, *, polygons: bool = False, need_images: bool = True
) -> Dataset:
    """Read one split of `file`.

    `train`, `val` or `test`, by default the first of val, test, train that is named.

    A split is a folder, a txt list of images, or a list of those, relative to `path`, itself relative to the
    file. Labels lie where the image's path has `labels` for its last folder `images`, with the suffix .txt.
    Their lines are `class cx cy w h`, or `class x1 y1 x2 y2 x3 y3 ...` for an outline, as fractions of the
    image. Image sizes are read only when a box is asked for in pixels.
    """
    config = _read_yaml(file)
    names = _class_names(config, file)
    name = split or next((key for key in _SPLITS if config.get(key)), None)
    if name is None or not config.get(name):
        named = ", ".join(key for key in _SPLITS if config.get(key)) or "none"
        raise DatasetError(
            f"{file}: no split {name!r}: it has {named}", hint="Name one of them as the split."
        )
    images = _image_files(config[name], file.parent / str(config.get("path") or "."), file)
    problems: list[Problem] = []
    entries: list[ImageEntry] = []
    table = LabelTable(relative=True)
    for path, image_id in zip(images, image_ids([path.stem for path in images]), strict=True):
        if need_images and not path.is_file():
            problems.append(Problem("missing image", str(path)))
            continue
        _add_labels(table, len(entries), label_file(path), len(names), problems, polygons=polygons)
        entries.append(ImageEntry(path, image_id))
    if not entries:
        raise DatasetError(f"{file}: no usable image in its split {name!r}: {problems[0]}")
    title = f"{file.resolve().parent.name}-{name}"
    samples = table.samples(entries, problems)
    return Dataset(title, "yolo", file, names, tuple(range(1, len(names) + 1)), samples, tuple(problems))


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise RuntimeMissingError(
            f"{file}: reading yaml needs PyYAML, which is not installed", hint="pip install edgeyolo[eval]"
        ) from error
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: not valid yaml: {error}") from error
    if not isinstance(config, dict):
        raise DatasetError(f"{file}: a data.yaml has the keys `train`, `val`, `names`; this one has no keys")
    return config


def _class_names(config: dict[str, Any], file: Path) -> tuple[str, ...]:
    names = config.get("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise DatasetError(
                f"{file}: the keys of `names` must be 0 to {len(names) - 1}; they are {list(names)}"
            )
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DatasetError(f"{file}: `names` must be a list of class names, or number: name")
    for i, name in enumerate(names):
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise DatasetError(f"{file}: the name of class {i} reads as {name!r}", hint="Put it in quotes.")
    if config.get("nc") not in (None, len(names)):
        raise DatasetError(f"{file}: nc is {config['nc']}, but `names` has {len(names)} classes")
    return tuple(str(name) for name in names)


def _image_files(entry: Any, root: Path, file: Path) -> list[Path]:
    """Every image of a split, in the order of lists, sorted within folders."""
    entries = entry if isinstance(entry, list) else [entry]
    images: list[Path] = []
    for item in entries:
        source = _resolve(str(item), root, file)
        if source.is_dir():
            images += sorted(path for path in source.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        elif source.suffix.lower() == ".txt":
            images += _read_list(source, root)
        else:
            raise DatasetError(f"{file}: {item!r} is neither a folder nor a txt list of images")
    if not images:
        raise DatasetError(
            f"{file}: no images in {entry!r}", hint=f"Known suffixes: {' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return list(dict.fromkeys(images))


def _resolve(item: str, root: Path, file: Path) -> Path:
    # Exports of labelling services write ../train/images and put data.yaml beside train/.
    guesses = [root / item, file.parent / item, file.parent / item.removeprefix("../")]
    found = next((guess for guess in guesses if guess.exists()), None)
    if found is None:
        raise DatasetError(
            f"{file}: {item!r} is not there; looked at {', '.join(str(g) for g in dict.fromkeys(guesses))}",
            hint="`path` in data.yaml is the folder that the splits are relative to.",
        )
    return found


def _read_list(file: Path, root: Path) -> list[Path]:
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    bases = (file.parent, root)
    base = next((base for base in bases if lines and (base / lines[0]).is_file()), file.parent)
    return [base / line for line in lines]


def label_file(image: Path) -> Path:
    """Label file of an image."""
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _add_labels(
    table: LabelTable, image: int, file: Path, classes: int, problems: list[Problem], *, polygons: bool
) -> None:
    for number, line in enumerate(_read_lines(file, problems), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            class_id, row, outline = _parse(fields)
        except ValueError as error:
            problems.append(Problem("malformed label", f"{file}:{number}", str(error)))
            continue
        if 0 <= class_id < classes:
            table.add(image, class_id, row, f"{file}:{number}", outline=outline if polygons else None)
        else:
            problems.append(Problem("unknown class", f"{file}:{number}", f"class {class_id} of {classes}"))


def _read_lines(file: Path, problems: list[Problem]) -> Iterable[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        problems.append(Problem("missing label file", str(file)))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem("malformed label", str(file), str(error)))
    return ()


def _parse(fields: list[str]) -> tuple[int, Sequence[float], Outline]:
    """Class, `cx, cy, w, h` and outline of one line."""
    values = [float(field) for field in fields]
    count = len(values)
    if count != 5 and (count < 7 or count % 2 == 0):
        raise ValueError(
            f"expected `class cx cy w h` or an outline of three points or more, found {count} numbers"
        )
    if not values[0].is_integer():
        raise ValueError(f"the class must be a whole number, found {fields[0]}")
    if count == 5:
        return int(values[0]), values[1:], ()
    points = np.array(values[1:], dtype=np.float64).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    return int(values[0]), [*((low + high) / 2), *(high - low)], (points.astype(np.float32),)
