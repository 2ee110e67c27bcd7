"""Pictures by what they show, whatever their names.

The identity of a sample, and whether two sets share any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgeyolo.datasets import Dataset
from edgeyolo.datasets.image_size import read_image_size
from edgeyolo.errors import ImageError
from edgeyolo.runtime.images import read_image
from edgeyolo.support.hashes import sha256


def identify(paths: Sequence[Path]) -> str:
    """The SHA-256 of the files' contents in their order, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(_file(path).encode())
    return digest.hexdigest()


def identify_labelled(dataset: Dataset) -> str:
    """The same of a data set's images, with their labels: what AP is measured on."""
    digest = hashlib.sha256(identify([sample.path for sample in dataset.images]).encode())
    digest.update(repr(dataset.class_names).encode())
    for sample in dataset.images:
        digest.update(repr((len(sample), sample.relative)).encode())
        for labels in (sample.class_id, sample.rows, sample.crowd, sample.difficult):
            digest.update(labels.tobytes())
    return digest.hexdigest()


def shared_pictures(paths: Iterable[Path], others: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Pairs (path, other) of the same file or the same picture.

    Files are the same byte for byte, pictures pixel for pixel.

    The latter finds copies that were given other metadata or another lossless format. Only pictures of one size are
    decoded and compared; a file that cannot be read is the same as none.
    """
    by_file = {_file(other): other for other in others}
    same_file, rest = [], []
    for path in paths:
        twin = by_file.get(_file(path))
        if twin is None:
            rest.append(path)
        else:
            same_file.append((path, twin))
    return same_file + _same_pixels(rest, list(by_file.values()))


def _same_pixels(paths: list[Path], others: list[Path]) -> list[tuple[Path, Path]]:
    sizes: dict[tuple[int, int], list[Path]] = {}
    for other in others:
        if size := _size(other):
            sizes.setdefault(size, []).append(other)
    wanted = [(path, size) for path in paths if (size := _size(path)) in sizes]
    seen: dict[str, Path] = {}
    for size in {size for _, size in wanted}:
        seen |= {key: other for other in sizes[size] if (key := _pixels(other))}
    return [(path, seen[key]) for path, _ in wanted if (key := _pixels(path)) in seen]


def _file(path: Path) -> str:
    """The SHA-256 of a file; its name where it cannot be read."""
    try:
        return sha256(path)
    except OSError:
        return f"unreadable: {path}"


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return read_image_size(path)
    except ImageError:
        return None


def _pixels(path: Path) -> str:
    """The SHA-256 of the decoded picture; "" where it cannot be decoded."""
    try:
        picture = read_image(path)
    except ImageError:
        return ""
    return hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()
