"""Images to predict on: a folder, a list or a column of a table."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgeyolo.errors import DatasetError, UsageError
from edgeyolo.predict.columns import require_pyarrow
from edgeyolo.runtime.images import find_images
from edgeyolo.support.reading import read_text

LISTS = (".txt", ".lst", ".list")
COLUMN = "image"


@dataclass(frozen=True)
class Listing:
    """Images by name, each once and in order, and sentences on what was left out."""

    images: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def list_source(source: str | os.PathLike[str]) -> Listing:
    """List the images of a folder, a pattern, a text list or a Parquet table.

    A folder is taken with the folders below. A list has one image a line, a table a column `image`; relative names
    start at the list's folder, addresses such as s3://bucket/a.jpg stay as they are. A name that stands there twice
    is taken once.

    Raises:
        ImageError: there is no such folder, or no image in it.
        DatasetError: the list or table cannot be read.
        UsageError: a list or table without images.
    """
    path = Path(source)
    suffix = path.suffix.lower()
    if path.is_dir() or suffix not in (*LISTS, ".parquet"):
        walk = find_images(source, recursive=True)
        return Listing(tuple(map(str, walk.files)), tuple(walk.sentences()))
    if not path.is_file():
        raise DatasetError(f"{path}: expected a list of images, nothing is there")
    names = _column(path) if suffix == ".parquet" else _lines(path)
    if not names:
        raise UsageError(f"{path}: no image is listed", hint="One image a line, or a column `image`.")
    return Listing(tuple(dict.fromkeys(_located(name, path.parent) for name in names)))


def is_address(name: str) -> bool:
    """Return True for s3://bucket/a.jpg and the like."""
    return "://" in name


def _located(name: str, folder: Path) -> str:
    return name if is_address(name) else str(folder / name)


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in read_text(path, error=DatasetError).splitlines() if line.strip()]


def _column(path: Path) -> list[str]:
    pa = require_pyarrow()
    try:
        file = pa.parquet.ParquetFile(path)
        if COLUMN not in file.schema_arrow.names:
            raise DatasetError(
                f"{path}: expected a column {COLUMN!r}, got {', '.join(file.schema_arrow.names)}",
                hint="Name the column that holds the images' paths `image`.",
            )
        values = file.read([COLUMN]).column(COLUMN).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: not a Parquet file that can be read ({error})") from error
    if not all(isinstance(value, str) for value in values):
        raise DatasetError(f"{path}: expected text in the column {COLUMN!r}, got other values")
    return [str(value) for value in values]
