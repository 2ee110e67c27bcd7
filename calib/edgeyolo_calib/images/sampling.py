"""Sampling of a data set's images for calibration.

It takes a sample that holds every class and every object size it can.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from edgeyolo.datasets import Sample
from edgeyolo.errors import ImageError

SMALL, LARGE = 32**2, 96**2
"""COCO's borders between small, medium and large objects, in square pixels."""

Stratum = tuple[int, str]
EMPTY: Stratum = (-1, "empty")


def strata(samples: Sequence[Sample]) -> list[Stratum]:
    """Rarest kind of object in each image.

    (class number, "small", "medium" or "large").

    How rare a kind is, is judged by the number of images that it occurs in. Images without objects are `EMPTY`, and
    so are those whose size is needed but cannot be read.
    """
    kinds = [_kinds(sample) for sample in samples]
    spread = Counter(kind for found in kinds for kind in found)
    return [min(found, key=lambda kind: (spread[kind], kind)) if found else EMPTY for found in kinds]


def stratified(groups: Sequence[Stratum], count: int, seed: int) -> list[int]:
    """`count` different indices into `groups`, in random order.

    It gives all where there are fewer; they are drawn with `seed`.

    Each group gives its share, rounded so that none that exists is left out while `count` allows it.
    """
    rng = np.random.default_rng(seed)
    members: dict[Stratum, list[int]] = {}
    for index in rng.permutation(len(groups)).tolist():
        members.setdefault(groups[index], []).append(index)
    quota = _allot({group: len(found) for group, found in members.items()}, count)
    drawn = [index for group in sorted(members) for index in members[group][: quota[group]]]
    return [drawn[i] for i in rng.permutation(len(drawn)).tolist()]


def _kinds(sample: Sample) -> set[Stratum]:
    try:
        area = sample.area
    except ImageError:
        return set()
    sizes = np.select([area < SMALL, area >= LARGE], ["small", "large"], default="medium")
    return set(zip(sample.class_id.tolist(), sizes.tolist(), strict=True))


def _allot(sizes: dict[Stratum, int], count: int) -> dict[Stratum, int]:
    """Number of images from each group.

    At least one, otherwise in proportion, by largest remainder.
    """
    total = sum(sizes.values())
    if count >= total:
        return dict(sizes)
    rarest = sorted(sizes, key=lambda group: (sizes[group], group))
    quota = {group: int(number < count) for number, group in enumerate(rarest)}
    # What is wanted beyond what a group has already; the group furthest behind its share is next.
    while sum(quota.values()) < count:
        behind = {group: sizes[group] * count / total - quota[group] for group in rarest}
        open_groups = [group for group in rarest if quota[group] < sizes[group]]
        quota[max(open_groups, key=lambda group: behind[group])] += 1
    return quota
