"""Bringing a data set's classes into the order of a model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgeyolo.datasets.values import Dataset
from edgeyolo.errors import DatasetError


def align_classes(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """Renumber a data set's classes as in `names` (a model's class names).

    COCO and VOC classes are matched by name, whatever their order and ids; YOLO labels are indices, so there
    every name must stand at the model's own index. Case, "_" and "-" make no difference. A COCO category or
    VOC class without objects may be unknown to the model, and a class of the model may be absent from a VOC
    folder, which has no list of classes; anything else that does not match is a DatasetError that says which.
    """
    wanted = [_plain(name) for name in names]
    present = [_plain(name) for name in dataset.class_names]
    if len(set(wanted)) != len(wanted):
        raise DatasetError(f"two of the model's classes have one name: {_twice(names)}")
    if dataset.format == "yolo":
        _require_same_order(dataset, names, wanted, present)
    else:
        _require_matches(dataset, names, wanted, present)
    table = np.array([wanted.index(name) if name in wanted else -1 for name in present], dtype=np.int64)
    if np.array_equal(table, np.arange(len(wanted))):
        return replace(dataset, class_names=tuple(names))
    return replace(
        dataset,
        class_names=tuple(names),
        category_ids=_category_ids(dataset, wanted, present),
        images=tuple(replace(sample, class_id=table[sample.class_id]) for sample in dataset.images),
    )


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _twice(names: Sequence[str]) -> str:
    plain = [_plain(name) for name in names]
    return next(repr(name) for name in names if plain.count(_plain(name)) > 1)


def _require_same_order(
    dataset: Dataset, names: Sequence[str], wanted: Sequence[str], present: Sequence[str]
) -> None:
    if len(wanted) != len(present):
        raise DatasetError(
            f"{dataset.source}: the model has {len(wanted)} classes, the data set {len(present)}",
            hint="Evaluate on the data set the model was trained for.",
        )
    wrong = [i for i, (ours, theirs) in enumerate(zip(wanted, present, strict=True)) if ours != theirs]
    if wrong:
        pairs = ", ".join(
            f"class {i} is {names[i]!r} to the model, {dataset.class_names[i]!r} here" for i in wrong[:5]
        )
        more = f" (and {len(wrong) - 5} more)" if len(wrong) > 5 else ""
        raise DatasetError(
            f"{dataset.source}: {pairs}{more}",
            hint="YOLO labels are class indices: `names` in data.yaml must be the model's, in its order.",
        )


def _require_matches(
    dataset: Dataset, names: Sequence[str], wanted: Sequence[str], present: Sequence[str]
) -> None:
    used = np.zeros(len(present), dtype=bool)
    for sample in dataset.images:
        used[sample.class_id] = True
    unknown = [dataset.class_names[i] for i, name in enumerate(present) if name not in wanted and used[i]]
    absent = (
        []
        if dataset.format == "voc"
        else [name for name, key in zip(names, wanted, strict=True) if key not in present]
    )
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


def _category_ids(dataset: Dataset, wanted: Sequence[str], present: Sequence[str]) -> tuple[int, ...]:
    known = dict(zip(present, dataset.category_ids, strict=True))
    free = max(dataset.category_ids, default=0)
    ids = []
    for name in wanted:
        if name not in known:
            free += 1
        ids.append(known.get(name, free))
    return tuple(ids)
