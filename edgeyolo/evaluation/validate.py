"""Validation: run a detector over a data set and judge its detections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import RawMaps
from edgeyolo.backend import registry
from edgeyolo.backend.devices import Device
from edgeyolo.datasets import Dataset, Problem, align_classes, describe_problems
from edgeyolo.errors import DatasetError, ImageError, UsageError
from edgeyolo.evaluation.ap import Evaluator, coco_ap
from edgeyolo.evaluation.feed import Decoded, decode_ahead
from edgeyolo.evaluation.predictions import Predictions
from edgeyolo.evaluation.rectangular import Batch, rectangular_batches, square_batches
from edgeyolo.evaluation.result import EvaluationProtocol, ValidationResult, stage_time
from edgeyolo.runtime.pipeline import Pipeline
from edgeyolo.runtime.postprocess import EVALUATION, Boxes, postprocess
from edgeyolo.runtime.postprocess_config import settle
from edgeyolo.runtime.preprocess import fit_long_side

if TYPE_CHECKING:
    from edgeyolo.artifact.artifact import Artifact


_FREE_BATCH = 8
STAGES = ("decode", "preprocess", "inference", "postprocess")


class Opened(Protocol):
    """Holder of a pipeline, such as a Detector."""

    @property
    def pipeline(self) -> Pipeline: ...


def validate(
    detector: Opened | Pipeline,
    dataset: Dataset,
    *,
    batch: int | None = None,
    rect: bool = False,
    conf: float | None = None,
    iou: float | None = None,
    max_det: int | None = None,
    multi_label: bool | None = None,
    evaluator: Evaluator = "auto",
    artifact: Artifact | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> ValidationResult:
    """Measure AP on a data set.

    Detects at a very low confidence, several classes a box, and compares with the data set's boxes.

    The data set's classes are matched with the model's (see `align_classes`). Images that cannot be decoded,
    or are of another size than the annotations say, are left out and listed in the result's `problems`.

    Args:
        detector: what to judge; its own thresholds are not used.
        dataset: what to judge it on.
        batch: images at a time; by default the artifact's batch, or 8 where it takes any.
        rect: rectangular batches, as for the paper's AP. Needs a network that takes any size.
        conf, iou, max_det, multi_label: of the suppression; the defaults are the paper's. An artifact that suppresses
            in its graph has its own, by which AP is lower; asking for others is a UsageError.
        evaluator: the library that computes AP.
        artifact: what a Pipeline runs, for the record; a Detector knows its own.
        progress: called with (images done, images in all) after every batch.

    Returns:
        The twelve COCO numbers as fractions of 1, AP by class, milliseconds of each stage an image, the protocol,
        all detections (boxes in pixels of the original images), and the problems met.

    Raises:
        UsageError: a batch the artifact does not take; `rect` with a network of one size.
        DatasetError: classes that do not match, or no image that can be read.
        RuntimeMissingError: no library that computes AP is installed.
    """
    pipeline = detector if isinstance(detector, Pipeline) else detector.pipeline
    config = settle(pipeline.output, EVALUATION, conf=conf, iou=iou, max_det=max_det, multi_label=multi_label)
    pipeline = pipeline.with_config(config)
    count = _batch_size(pipeline, batch)
    aligned = align_classes(dataset, pipeline.class_names)
    run = _Run(pipeline, aligned, rect, progress)
    for planned, decoded in decode_ahead([sample.path for sample in aligned.images], run.plan(count)):
        run.process(planned, decoded)
    judged, predictions = run.judged(), run.predictions()
    ap = coco_ap(judged, predictions, evaluator=evaluator)
    protocol = EvaluationProtocol(
        data=dataset.name,
        images=len(judged),
        instances=judged.objects,
        shape="rectangular" if rect else "square",
        size=pipeline.input.size,
        batch=count,
        conf=config.conf,
        iou=config.iou,
        max_det=config.max_det,
        multi_label=config.multi_label,
        evaluator=ap.evaluator,
        **_identity(artifact or getattr(detector, "artifact", None)),
    )
    speed = {name: stage_time(times) for name, times in run.times.items()}
    return ValidationResult(ap, speed, protocol, judged, predictions, (*dataset.problems, *run.problems))


def _batch_size(pipeline: Pipeline, batch: int | None) -> int:
    contract = pipeline.input
    largest = contract.max_batch if contract.dynamic_batch else contract.batch
    if batch is None:
        return _FREE_BATCH if contract.dynamic_batch else contract.batch
    if not 1 <= batch <= largest:
        raise UsageError(
            f"batch {batch}: this network takes {'1 to ' if largest > 1 else ''}{largest} images at a time",
            hint="Export it again with --batch dynamic for others." if not contract.dynamic_batch else "",
        )
    return batch


def _identity(artifact: Artifact | None) -> dict[str, str]:
    if artifact is None:
        return {}
    manifest = artifact.manifest
    return {"model": manifest.model, "target": str(manifest.target), "artifact": artifact.sha256}


@dataclass
class _Run:
    """One pass over the data set.

    `found` is by index of the image; `times` are milliseconds an image.
    """

    pipeline: Pipeline
    dataset: Dataset
    rect: bool
    progress: Callable[[int, int | None], None] | None
    found: dict[int, Boxes] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    times: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in STAGES})
    done: int = 0

    def plan(self, count: int) -> list[Batch]:
        """Batches of up to `count` images."""
        contract = self.pipeline.input
        if not self.rect:
            return square_batches(len(self.dataset), count, contract.size)
        output = self.pipeline.output
        if not contract.dynamic_size or not isinstance(output, RawMaps):
            height, width = contract.size
            raise UsageError(
                f"rectangular batches need a network that takes any size; this one takes {width} x {height}",
                hint="Evaluate square batches, or a target with free sizes such as cpu-torch-fp32.",
            )
        sizes = [(i, self._size(i)) for i in range(len(self.dataset))]
        known = [(i, size) for i, size in sizes if size is not None]
        stride = max(output.strides)
        batches = rectangular_batches([size for _, size in known], count, max(contract.size), stride)
        return [replace(b, images=tuple(known[i][0] for i in b.images)) for b in batches]

    def _size(self, index: int) -> tuple[int, int] | None:
        sample = self.dataset.images[index]
        try:
            return sample.size
        except ImageError as error:
            self.problems.append(Problem("damaged image", str(sample.path), error.message))
            self.done += 1
            return None

    def process(self, planned: Batch, decoded: list[Decoded]) -> None:
        """Detect in one batch, without its bad images."""
        usable = [
            (i, image) for i, image in zip(planned.images, decoded, strict=True) if self._usable(i, image)
        ]
        if usable:
            start = perf_counter()
            batch, boxes = self._prepare(
                [image.pixels for _, image in usable if image.pixels is not None], planned
            )
            prepared = perf_counter()
            maps = self.pipeline.infer(batch)
            inferred = perf_counter()
            found = postprocess(maps, self.pipeline.output, boxes, self.pipeline.config)
            end = perf_counter()
            self.found.update(zip((i for i, _ in usable), found, strict=True))
            self.times["decode"] += [image.milliseconds for _, image in usable]
            for name, seconds in zip(
                STAGES[1:], (prepared - start, inferred - prepared, end - inferred), strict=True
            ):
                self.times[name] += [seconds * 1e3 / len(usable)] * len(usable)
        self.done += len(decoded)
        if self.progress:
            self.progress(self.done, len(self.dataset))

    def _usable(self, index: int, image: Decoded) -> bool:
        sample = self.dataset.images[index]
        if image.pixels is None:
            self.problems.append(Problem("damaged image", str(sample.path), image.error))
            return False
        height, width = image.pixels.shape[:2]
        if sample.declared_size not in (None, (width, height)):
            said = "{} x {}".format(*sample.declared_size)
            detail = f"{width} x {height}, the annotations say {said}"
            self.problems.append(Problem("wrong image size", str(sample.path), detail))
            return False
        return True

    def _prepare(self, images: list[NDArray[np.uint8]], planned: Batch) -> Any:
        if not self.rect:
            return self.pipeline.preprocess(images)
        long_side = max(self.pipeline.input.size)
        fitted = [fit_long_side(image, long_side) for image in images]
        batch, boxes = self.pipeline.preprocess(
            [image for image, _ in fitted], size=planned.size, enlarge=False
        )
        originals = zip(boxes, images, fitted, strict=True)
        return batch, [box.of_original(image.shape[:2], ratio) for box, image, (_, ratio) in originals]

    def judged(self) -> Dataset:
        """The data set without the images that could not be used."""
        if not self.found:
            found = "; ".join(describe_problems(self.problems))
            raise DatasetError(
                f"{self.dataset.source}: none of its {len(self.dataset)} images can be used: {found}"
            )
        return replace(self.dataset, images=tuple(self.dataset.images[i] for i in sorted(self.found)))

    def predictions(self) -> Predictions:
        """Everything found, by image."""
        order = sorted(self.found)
        per_image = [(self.found[i].xyxy, self.found[i].confidence, self.found[i].class_id) for i in order]
        return Predictions.from_images([self.dataset.images[i].image_id for i in order], per_image)


@contextmanager
def open_to_judge(artifact: Artifact, device: Device | None = None) -> Iterator[tuple[Pipeline, str]]:
    """Open an artifact's pipeline for evaluation.

    It is on the artifact's own runtime or, where that is not here, on the stand-in that its export was
    compared by; and the words for what runs it, "" for its own runtime.

    A stand-in gives the device's arithmetic, not its speed. Raises RuntimeMissingError where there is neither.
    """
    manifest = artifact.manifest
    session, runtime = registry.open_for_parity(artifact, device=device)
    with closing(session):
        pipeline = Pipeline(
            session, manifest.input, manifest.output, manifest.class_names, settle(manifest.output)
        )
        yield pipeline, "" if runtime == manifest.backend else runtime
