"""Marks by which a resumed run notices that its data has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from edgeyolo.datasets import Dataset

Marks = dict[str, dict[str, Any]]


def mark_data(training: Dataset, validation: Dataset | None) -> Marks:
    """Marks of the images and labels of both parts, as plain values.

    An image is known by its name and the size of its file: reading them all would take minutes. Labels are known by
    every class and box.
    """
    parts = {"training": training} | ({"validation": validation} if validation is not None else {})
    return {name: _mark(dataset) for name, dataset in parts.items()}


def changed_data(before: Mapping[str, Any], now: Marks) -> tuple[str, ...]:
    """Sentences on the differences between two marks.

    None where nothing is known of before.
    """
    found = []
    for part, mark in now.items():
        known = before.get(part)
        if not isinstance(known, Mapping) or known == mark:
            continue
        if known.get("count") != mark["count"]:
            what = f"there are {mark['count']} {part} images, {known.get('count')} when the run was begun"
        else:
            names = {"files": "images", "labels": "labels"}
            what = f"{' and '.join(names[key] for key in names if known.get(key) != mark[key])} of the {part} data"
            what += " are not those that the run was begun with"
        found.append(f"{what}: what was learned before is of the old data, and AP is not comparable with it")
    return tuple(found)


def _mark(dataset: Dataset) -> dict[str, Any]:
    files, labels = hashlib.sha256(), hashlib.sha256()
    for sample in dataset.images:
        try:
            size = sample.path.stat().st_size
        except OSError:  # it is reported where it is read
            size = -1
        files.update(f"{sample.path.name} {size}\n".encode("utf-8", "surrogateescape"))
        labels.update(sample.class_id.tobytes() + sample.rows.tobytes() + b"\n")
    return {"count": len(dataset), "files": files.hexdigest(), "labels": labels.hexdigest()}
