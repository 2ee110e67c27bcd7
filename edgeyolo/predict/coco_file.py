"""COCO's json of a prediction: images, annotations with a score, categories."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from edgeyolo.support.files import atomic_file


def write_coco(out: Path, tables: Callable[[], Iterator[Any]], class_names: Sequence[str]) -> int:
    """Write the rows of tables as one COCO json, without holding all of them.

    Image ids count from 1 in the order of the images; a category's id is the class id + 1. `bbox` is x, y, width,
    height in pixels, `score` the confidence. Images that could not be read stand in `errors` with the reason.

    Returns:
        The number of images that could not be read.
    """
    categories = [{"id": number, "name": name} for number, name in enumerate(class_names, start=1)]
    with atomic_file(out) as draft, draft.open("w", encoding="utf-8") as file:
        file.write('{"categories": ' + json.dumps(categories, ensure_ascii=False))
        for name, entries in (("images", _images), ("annotations", _annotations), ("errors", _errors)):
            file.write(f',\n"{name}": [')
            count = _write(file, entries(tables()))
            file.write("]")
        file.write("}\n")
    return count  # of the errors, which come last


def _write(file: TextIO, entries: Iterator[dict[str, Any]]) -> int:
    count = 0
    for count, entry in enumerate(entries, start=1):
        file.write(("\n" if count == 1 else ",\n") + json.dumps(entry, ensure_ascii=False))
    return count


def _rows(tables: Iterator[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    for table in tables:
        for row in table.to_pylist():
            number += 1
            yield number, row


def _images(tables: Iterator[Any]) -> Iterator[dict[str, Any]]:
    for number, row in _rows(tables):
        if row["error"] is None:
            yield {"id": number, "file_name": row["image"], "height": row["height"], "width": row["width"]}


def _annotations(tables: Iterator[Any]) -> Iterator[dict[str, Any]]:
    identifier = 0
    for number, row in _rows(tables):
        for (x1, y1, x2, y2), score, class_id in zip(
            row["boxes"], row["confidence"], row["class_id"], strict=True
        ):
            identifier += 1
            yield {
                "id": identifier,
                "image_id": number,
                "category_id": class_id + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "score": score,
            }


def _errors(tables: Iterator[Any]) -> Iterator[dict[str, Any]]:
    for _, row in _rows(tables):
        if row["error"] is not None:
            yield {"file_name": row["image"], "error": row["error"]}
