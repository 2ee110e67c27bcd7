"""Bringing a data set's classes into the order of a model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgeyolo.datasets.values import Dataset
from edgeyolo.errors import DatasetError
from edgeyolo.support.names import match_names


def align_classes(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """Renumber a data set's classes as in `names` (a model's class names).

    COCO and VOC classes are matched by name, whatever their order and ids; YOLO labels are indices, so there
    every name must stand at the model's own index. Names are matched as they are written; case, "_" and "-" make no
    difference where that leaves no doubt. A COCO category or VOC class without objects may be unknown to the model,
    and a class of the model may be absent from a VOC folder, which has no list of classes; anything else that does
    not match is a DatasetError that says which.
    """
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise DatasetError(f"two of the model's classes have one name: {twice!r}")
    found = match_names(dataset.class_names, names)
    if dataset.format == "yolo":
        _require_same_order(dataset, names, found)
    else:
        _require_matches(dataset, names, found)
    table = np.array([-1 if index is None else index for index in found], dtype=np.int64)
    if np.array_equal(table, np.arange(len(names))):
        return replace(dataset, class_names=tuple(names))
    return replace(
        dataset,
        class_names=tuple(names),
        category_ids=_category_ids(dataset, len(names), found),
        images=tuple(replace(sample, class_id=table[sample.class_id]) for sample in dataset.images),
    )


def _require_same_order(dataset: Dataset, names: Sequence[str], found: Sequence[int | None]) -> None:
    if len(names) != len(found):
        raise DatasetError(
            f"{dataset.source}: the model has {len(names)} classes, the data set {len(found)}",
            hint="Evaluate on the data set the model was trained for.",
        )
    wrong = [i for i, index in enumerate(found) if index != i]
    if wrong:
        pairs = ", ".join(
            f"class {i} is {names[i]!r} to the model, {dataset.class_names[i]!r} here" for i in wrong[:5]
        )
        more = f" (and {len(wrong) - 5} more)" if len(wrong) > 5 else ""
        raise DatasetError(
            f"{dataset.source}: {pairs}{more}",
            hint="YOLO labels are class indices: `names` in data.yaml must be the model's, in its order.",
        )


def _require_matches(dataset: Dataset, names: Sequence[str], found: Sequence[int | None]) -> None:
    used = np.zeros(len(found), dtype=bool)
    for sample in dataset.images:
        used[sample.class_id] = True
    unknown = [dataset.class_names[i] for i, index in enumerate(found) if index is None and used[i]]
    absent = [] if dataset.format == "voc" else [name for i, name in enumerate(names) if i not in found]
    if unknown or absent:
        parts = []
        if unknown:
            parts.append(f"has objects of {_listed(unknown)}, which the model does not know")
        if absent:
            parts.append(f"has no category for the model's {_listed(absent)}")
        raise DatasetError(
            f"{dataset.source}: {'; it '.join(parts)}",
            hint=f"The model's classes are {_listed(names)}; the data set's {_listed(dataset.class_names)}.",
        )


def _listed(names: Sequence[str], limit: int = 10) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(repr(name) for name in names[:limit]) + more


def _category_ids(dataset: Dataset, classes: int, found: Sequence[int | None]) -> tuple[int | str, ...]:
    """Category ids of the model's classes; new ones for classes that are absent."""
    known = {index: dataset.category_ids[i] for i, index in enumerate(found) if index is not None}
    free = max((each for each in dataset.category_ids if isinstance(each, int)), default=0)
    ids: list[int | str] = []
    for index in range(classes):
        if index not in known:
            free += 1
        ids.append(known.get(index, free))
    return tuple(ids)
