"""YOLO data sets.

A `data.yaml`, folders (or lists) of images, and a txt file of labels per image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from glob import has_magic
from pathlib import Path
from typing import Any

import numpy as np

from edgeyolo.datasets.parse import shortened
from edgeyolo.datasets.table import ImageEntry, LabelTable, image_ids
from edgeyolo.datasets.values import Dataset, Outline, Problem, describe_problems
from edgeyolo.errors import DatasetError, MissingDatasetError
from edgeyolo.runtime.images import IMAGE_SUFFIXES
from edgeyolo.support.folders import match_files, walk_files
from edgeyolo.support.reading import is_regular, read_text, read_yaml

_SPLITS = ("val", "test", "train")
_ALSO = {"val": ("val", "valid", "validation")}  # other words of tools for a part


def read_yolo(
    file: Path, split: str | None = None, *, polygons: bool = False, need_images: bool = True
) -> Dataset:
    """Read one split of `file`.

    `train`, `val` (or `valid`) or `test`, by default the first of val, test, train that is named.

    A split is a folder, a txt list of images, a pattern, or a list of those, relative to `path`, itself relative to
    the file. Labels lie where the image's path has `labels` for its last folder `images`, else beside the image,
    with the suffix .txt. Their lines are `class cx cy w h`, or `class x1 y1 x2 y2 x3 y3 ...` for an outline, as
    fractions of the image. Image sizes are read only when a box is asked for in pixels.
    """
    config = read_yaml(file, error=DatasetError)
    if not isinstance(config, dict):
        raise DatasetError(f"{file}: a data.yaml has the keys `train`, `val`, `names`; this one has no keys")
    names = _class_names(config, file)
    named = {
        part: config[key] for part in _SPLITS for key in reversed(_ALSO.get(part, (part,))) if config.get(key)
    }
    name = split or next(iter(named), None)
    part = next((known for known, words in _ALSO.items() if name in words), name)
    if name is None or part not in named:
        raise MissingDatasetError(
            f"{file}: no split {name!r}: it has {', '.join(named) or 'none'}",
            hint="Name one of them as the split.",
        )
    problems: list[Problem] = []
    images = _image_files(named[part], file, config.get("path"), problems)
    there = [path for path in images if not need_images or is_regular(path)]
    problems += [Problem("missing image", str(path)) for path in sorted(set(images) - set(there))]
    entries: list[ImageEntry] = []
    table = LabelTable(relative=True)
    for path, source_id in zip(there, image_ids([path.stem for path in there]), strict=True):
        _add_labels(table, len(entries), _labels_of(path), len(names), problems, polygons=polygons)
        entries.append(ImageEntry(path, source_id))
    if not entries:
        raise DatasetError(f"{file}: no usable image in its split {name!r}: {problems[0]}")
    title = f"{file.resolve().parent.name}-{name}"
    samples = table.samples(entries, problems)
    return Dataset(title, "yolo", file, names, tuple(range(1, len(names) + 1)), samples, tuple(problems))


def _class_names(config: dict[Any, Any], file: Path) -> tuple[str, ...]:
    names, count = config.get("names"), config.get("nc")
    if names is None and count is not None:
        raise DatasetError(
            f"{file}: it has `nc`, but no `names`", hint="Write the classes' names, as in names: [cat, dog]"
        )
    if isinstance(names, dict):
        by_index = {str(key).strip(): name for key, name in names.items()}
        if set(by_index) != {str(i) for i in range(len(names))}:
            keys = shortened(list(names))
            raise DatasetError(f"{file}: the keys of `names` must be 0 to {len(names) - 1}; they are {keys}")
        names = [by_index[str(i)] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DatasetError(f"{file}: `names` must be a list of class names, or number: name")
    for i, name in enumerate(names):
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise DatasetError(
                f"{file}: the name of class {i} reads as {shortened(name)}", hint="Put it in quotes."
            )
    if count is not None and str(count).strip() != str(len(names)):
        raise DatasetError(f"{file}: nc is {shortened(count)}, but `names` has {len(names)} classes")
    return tuple(str(name) for name in names)


def _image_files(entry: Any, file: Path, base: Any, problems: list[Problem]) -> list[Path]:
    """Every image of a split, in the order of lists, sorted within folders."""
    items = entry if isinstance(entry, list) else [entry]
    if not all(isinstance(item, str | int) for item in [*items, base or "."]):
        raise DatasetError(
            f"{file}: expected the names of folders and lists, got {shortened(entry)} in {shortened(base)}"
        )
    root = file.parent / str(base or ".")
    images: list[Path] = []
    for item in items:
        source = _resolve(str(item), root, file)
        if source.suffix.lower() == ".txt" and not source.is_dir():
            images += _read_list(source, root)
            continue
        if source.is_dir():
            found = walk_files(source, IMAGE_SUFFIXES)
        elif has_magic(str(item)):
            found = match_files(str(source), IMAGE_SUFFIXES)
        else:
            raise DatasetError(f"{file}: {item!r} is neither a folder nor a txt list of images")
        images += found.files
        problems += [Problem(why, str(path)) for why, places in found.left_out.items() for path in places]
    if not images:
        left_out = "".join(f"; left out: {line}" for line in describe_problems(problems))
        raise MissingDatasetError(
            f"{file}: no images in {shortened(entry)}{left_out}",
            hint=f"Known suffixes: {' '.join(sorted(IMAGE_SUFFIXES))}",
        )
    return list(dict.fromkeys(images))


def _resolve(item: str, root: Path, file: Path) -> Path:
    """The folder, list or pattern that a word of data.yaml stands for."""
    # Exports of labelling services write ../train/images and put data.yaml beside train/.
    guesses = [root / item, file.parent / item, file.parent / item.removeprefix("../")]
    for guess in guesses:
        try:
            if guess.exists() or (has_magic(item) and match_files(str(guess), IMAGE_SUFFIXES).files):
                return guess
        except (OSError, ValueError):  # a name that is too long, or none
            continue
    raise MissingDatasetError(
        f"{file}: {shortened(item)} is not there; looked at {', '.join(str(g) for g in dict.fromkeys(guesses))}",
        hint="`path` in data.yaml is the folder that the splits are relative to.",
    )


def _read_list(file: Path, root: Path) -> list[Path]:
    """Images of a list, each looked for by itself: beside it, then in the root."""
    lines = [line.strip() for line in read_text(file, error=DatasetError).splitlines() if line.strip()]
    bases = tuple(dict.fromkeys((file.parent, root)))
    found: list[Path | None] = []
    counts = dict.fromkeys(bases, 0)
    for line in lines:
        spellings = (line, line.replace("\\", "/")) if "\\" in line else (line,)  # lists made on Windows
        there = ((base, base / word) for word in spellings for base in bases)
        base, path = next((pair for pair in there if is_regular(pair[1])), (None, None))
        found.append(path)
        if base is not None:
            counts[base] += 1
    usual = max(bases, key=counts.__getitem__)
    return [path or usual / line for path, line in zip(found, lines, strict=True)]


def _labels_of(image: Path) -> Path:
    """Label file of an image, or one beside it, as annotation programs leave it."""
    usual, beside = label_file(image), image.with_suffix(".txt")
    return beside if not is_regular(usual) and is_regular(beside) else usual


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
            detail = f"class {shortened(fields[0])} of {classes}"
            problems.append(Problem("unknown class", f"{file}:{number}", detail))


def _read_lines(file: Path, problems: list[Problem]) -> Iterable[str]:
    try:
        return read_text(file, error=DatasetError).splitlines()
    except FileNotFoundError:
        problems.append(Problem("missing label file", str(file)))
    except DatasetError as error:
        problems.append(Problem("malformed label", str(file), error.message.removeprefix(f"{file}: ")))
    return ()


def _parse(fields: list[str]) -> tuple[int, Sequence[float], Outline]:
    """Class, `cx, cy, w, h` and outline of one line."""
    values = [float(field) for field in fields]
    count = len(values)
    if count != 5 and (count < 7 or count % 2 == 0):
        confidence = "; the sixth may be a confidence, which labels have none of" if count == 6 else ""
        raise ValueError(
            f"expected `class cx cy w h` or an outline of three points or more, got {count} numbers{confidence}"
        )
    if not values[0].is_integer():
        raise ValueError(f"the class must be a whole number, got {shortened(fields[0])}")
    if count == 5:
        return int(values[0]), values[1:], ()
    points = np.array(values[1:], dtype=np.float64).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    return int(values[0]), [*((low + high) / 2), *(high - low)], (points.astype(np.float32),)
