"""Predict: list, share out, fill, merge."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.errors import ImageError, UsageError
from edgeyolo.predict.cluster import fill_by_ray
from edgeyolo.predict.coco_file import write_coco
from edgeyolo.predict.columns import require_pyarrow, schema
from edgeyolo.predict.fill import Load
from edgeyolo.predict.listing import list_source
from edgeyolo.predict.local import fill_locally
from edgeyolo.predict.shards import Job, open_job
from edgeyolo.support import environment
from edgeyolo.support.cluster import require_ray
from edgeyolo.support.files import atomic_file
from edgeyolo.support.machine import cores

SUFFIXES = (".parquet", ".json")
SHARD = 128
"""Most images in a shard by default: what a killed process loses, some seconds to a minute of work."""


@dataclass(frozen=True)
class Options:
    """Choices of a prediction.

    `arguments` are those of Detector that decide the detections: conf, iou, classes, max_det, agnostic, multi_label.
    `workers` None is one process a core on a CPU, one on anything else; `shard` None is what `shard_size` says.
    `device` is as for Detector.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    device: str | None = None
    workers: int | None = None
    engine: str = "local"
    shard: int | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Progress:
    """State of a prediction: images done, images in all, images/s.

    The rate is of the time since this process began.
    """

    done: int
    total: int
    rate: float

    @property
    def left_s(self) -> float | None:
        """Seconds left at this rate; None while there is none."""
        return (self.total - self.done) / self.rate if self.rate else None


@dataclass(frozen=True)
class Predicted:
    """Result of a prediction: images in the output, and those with an error."""

    images: int
    failed: int


def predict(
    artifact: Artifact,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: Options = Options(),
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
) -> Predicted:
    """Detect in every image of a source and write one table, or COCO's json.

    Killed at any moment and called again with the same arguments, it goes on where it was; each image is in the
    output once.

    Args:
        artifact: the model.
        source: see `edgeyolo.predict.listing.list_source`.
        out: a name that ends in .parquet (`edgeyolo.predict.columns.schema`) or .json.
        options: processes, thresholds, what to do with an output that is there.
        progress: called as images get done.
        tell: called with sentences for a person.

    Raises:
        UsageError: arguments that do not fit, or an output that another prediction began.
        RuntimeMissingError: pyarrow, the engine or the artifact's runtime is not installed.
        ImageError: not one of the images could be read; the output is written all the same.
    """
    destination = Path(out)
    _check(destination, options)
    require_pyarrow()
    fill = _engine(options.engine)
    listing = list_source(source)
    for line in listing.left_out:
        tell(f"left out: {line}")
    settings = {"model": artifact.sha256, "source": str(source)} | {
        name: value for name, value in sorted(options.arguments.items()) if value is not None
    }
    workers = options.workers or workers_for(artifact)
    size = options.shard or shard_size(len(listing.images), workers)
    with open_job(destination, listing.images, settings, size, overwrite=options.overwrite) as job:
        if job.images != listing.images:
            tell(
                f"going on with the {len(job.images)} images that this prediction began with; "
                f"{source} has {len(listing.images)} now"
            )
        _fill(job, artifact, options, fill, progress, workers=workers)
        predicted = _merge(job, destination, artifact)
        job.discard()
    if predicted.failed == predicted.images:
        raise ImageError(
            f"none of the {predicted.images} images could be read; the column `error` of {destination} says why"
        )
    return predicted


def workers_for(artifact: Artifact) -> int:
    """Processes by default: one a core on a CPU, one on any other device."""
    return (cores() or 1) if artifact.manifest.target.device == "cpu" else 1


def shard_size(images: int, workers: int) -> int:
    """Images in a shard, so that processes of equal speed end together.

    Shards are as many for each process, of nearly equal size, and of SHARD images at the most.
    """
    rounds = max(math.ceil(images / (SHARD * workers)), 1)
    return max(math.ceil(images / (rounds * workers)), 1)


def _check(out: Path, options: Options) -> None:
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{out}: expected a name that ends in .parquet or .json")
    for name, value in (("workers", options.workers), ("shard", options.shard)):
        if value is not None and value < 1:
            raise UsageError(f"{name}={value}: expected a whole number from 1")


def _engine(name: str) -> Callable[..., None]:
    if name == "ray":
        require_ray("data")
        return fill_by_ray
    if name == "local":
        return fill_locally
    raise UsageError(f"engine {name!r}: expected local or ray")


def _fill(
    job: Job,
    artifact: Artifact,
    options: Options,
    fill: Callable[..., None],
    progress: Callable[[Progress], None],
    *,
    workers: int,
) -> None:
    shards = job.shards()
    pending = [shard for shard in shards if not shard.done]
    threads = environment.threads() or max(1, (cores() or 1) // workers)
    arguments = {**options.arguments, "threads": threads, "device": options.device}
    target = artifact.manifest.target
    load = Load(
        str(artifact.path.resolve()),
        artifact.sha256,
        arguments,
        gpu=target.runtime == "trt" or target.device == "cuda",
    )
    start, before = monotonic(), len(job.images) - sum(len(shard.images) for shard in pending)

    def tell(done: int) -> None:
        progress(Progress(before + done, len(job.images), done / max(monotonic() - start, 1e-9)))

    tell(0)
    fill(load, pending, workers, tell)


def _merge(job: Job, out: Path, artifact: Artifact) -> Predicted:
    if out.suffix.lower() == ".json":
        return Predicted(len(job.images), write_coco(out, job.tables, artifact.manifest.class_names))
    pa = require_pyarrow()
    failed = 0
    with atomic_file(out) as draft, pa.parquet.ParquetWriter(draft, schema(), compression="zstd") as writer:
        for table in job.tables():
            writer.write_table(table)
            failed += len(table) - table.column("error").null_count
    return Predicted(len(job.images), failed)
