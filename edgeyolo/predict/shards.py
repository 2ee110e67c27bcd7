"""The folder of work beside the output: the job, and a file for what is done.

    out.parquet.shards/
      job.json          the model, the settings and the images, in order
      lock              held by the process that drives the job
      00000000.parquet  rows of the first piece of the images, written whole or not at all

A shard is named by its place in the list, so doing it again replaces it: each image ends up in the output once,
however often and whenever the processes are killed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeyolo.errors import DamagedFileError, UsageError
from edgeyolo.predict.columns import require_pyarrow, schema
from edgeyolo.support.files import atomic_file
from edgeyolo.support.locks import hold
from edgeyolo.support.reading import readable

JOB, LOCK = "job.json", "lock"
_SCHEMA = "edgeyolo-predict/1"


@dataclass(frozen=True)
class Shard:
    """A piece of the images: its number, and the file that its rows go to."""

    number: int
    images: tuple[str, ...]
    file: Path

    @property
    def done(self) -> bool:
        """Return True if its rows are written."""
        return self.file.is_file()


@dataclass(frozen=True)
class Job:
    """Images and settings of one prediction, and the folder of its shards.

    `settings` decide the rows: the model's SHA-256, thresholds, classes.
    """

    folder: Path
    images: tuple[str, ...]
    settings: Mapping[str, Any]
    size: int

    def shards(self) -> list[Shard]:
        """Every shard, in the order of the images."""
        starts = range(0, len(self.images), self.size)
        return [
            Shard(number, self.images[start : start + self.size], self.folder / f"{number:08d}.parquet")
            for number, start in enumerate(starts)
        ]

    def tables(self) -> Iterator[Any]:
        """The rows of every shard as Arrow tables, in the order of the images.

        Raises DamagedFileError where a shard does not hold its images.
        """
        pa = require_pyarrow()
        for shard in self.shards():
            try:
                table = pa.parquet.read_table(shard.file, schema=schema())
            except (OSError, pa.ArrowException) as error:
                raise _damaged(shard) from error
            if tuple(table.column("image").to_pylist()) != tuple(map(readable, shard.images)):
                raise _damaged(shard)
            yield table

    def discard(self) -> None:
        """Remove the folder, the lock last."""
        for file in self.folder.glob("*.parquet"):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def write_shard(shard: Shard, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of a shard, whole or not at all."""
    pa = require_pyarrow()
    table = pa.Table.from_pylist(list(rows), schema=schema())
    with atomic_file(shard.file) as draft:
        pa.parquet.write_table(table, draft, compression="zstd")


def folder_of(out: Path) -> Path:
    """The folder of shards beside an output file."""
    return out.with_name(f"{out.name}.shards")


@contextmanager
def open_job(
    out: Path, images: Sequence[str], settings: Mapping[str, Any], size: int, *, overwrite: bool
) -> Iterator[Job]:
    """Begin a job beside `out`, or take up the one that was interrupted.

    One process at a time may. A job that is taken up keeps the images that it began with. With `overwrite` it begins
    anew.

    Raises UsageError where another process is at it, the one there is of another model or other settings, or `out`
    is finished and is not to be overwritten.
    """
    folder = folder_of(out)
    if out.exists() and not overwrite and not (folder / JOB).is_file():
        raise UsageError(f"{out} already exists", hint="Choose another file, or add --overwrite.")
    folder.mkdir(parents=True, exist_ok=True)
    lock = hold(folder / LOCK)
    if lock is None:
        raise UsageError(
            f"another process is predicting into {out}", hint="Wait for it, or choose another file."
        )
    try:
        job = None if overwrite else _interrupted(folder, settings, out)
        if job is None:
            for file in folder.glob("*.parquet"):
                file.unlink()
            job = Job(folder, tuple(images), dict(settings), size)
            _write(job)
        yield job
    finally:
        lock.release()


def _write(job: Job) -> None:
    data = {"schema": _SCHEMA, "settings": dict(job.settings), "size": job.size, "images": list(job.images)}
    with atomic_file(job.folder / JOB) as draft:
        draft.write_text(json.dumps(data), encoding="utf-8")


def _interrupted(folder: Path, settings: Mapping[str, Any], out: Path) -> Job | None:
    file = folder / JOB
    if not file.is_file():
        return None
    anew = f"Choose another file, or begin anew with --overwrite, which discards {os.fspath(folder)}."
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        job = Job(folder, tuple(data["images"]), data["settings"], int(data["size"]))
        known = data["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{file}: not the record of a prediction ({error})", hint=anew) from error
    if known != _SCHEMA:
        raise DamagedFileError(f"{file}: expected schema {_SCHEMA!r}, got {known!r}", hint=anew)
    names = sorted({*settings, *job.settings})
    if other := [name for name in names if job.settings.get(name) != settings.get(name)]:
        got = ", ".join(f"{name} {job.settings.get(name)!r}, not {settings.get(name)!r}" for name in other)
        raise UsageError(f"the interrupted prediction into {out} has {got}", hint=anew)
    return job


def _damaged(shard: Shard) -> DamagedFileError:
    return DamagedFileError(
        f"{shard.file}: not the rows of its {len(shard.images)} images",
        hint="Delete this file and start again: only its images are done again.",
    )
