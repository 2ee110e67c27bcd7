"""Work on a batch: decode, detect, draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.manifest import Manifest
from edgeyolo.detector.detector import Detector, split_classes
from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo.runtime.detections import Detections
from edgeyolo.runtime.images import read_image
from edgeyolo.serve.settings import Model

Picture: TypeAlias = Literal["jpeg", "png"]


@dataclass(frozen=True)
class Job:
    """One image to look at.

    Attributes:
        image: a file's bytes, or pixels (height, width, 3) uint8 BGR.
        max_pixels: most pixels that are decoded.
        picture: also draw the detections into a file of this kind.
    """

    image: bytes | NDArray[np.uint8]
    max_pixels: int
    picture: Picture | None = None


@dataclass(frozen=True)
class Found:
    """Detections of one image, and the file they are drawn into, if asked for."""

    detections: Detections
    picture: bytes | None = None


@dataclass(frozen=True)
class Answer:
    """Answers to a batch.

    Attributes:
        found: one for each job, in their order; an error where its image cannot be read or drawn.
        seconds: stage -> seconds, all images together.
    """

    found: list[Found | EdgeYoloError]
    seconds: Mapping[str, float]


class Worker(Protocol):
    """A session of a model that runs batches."""

    together: int
    """Batches that it runs at once, each called from a thread of its own."""

    @property
    def manifest(self) -> Manifest:
        """Manifest of the artifact that it runs."""
        ...

    def run(self, jobs: Sequence[Job]) -> Answer:
        """Answer a batch."""
        ...

    def close(self) -> None:
        """Release its memory."""
        ...


class LocalWorker:
    """A worker in this process.

    It reads the files of one batch while the network is at work on another.
    """

    together = 2

    def __init__(self, model: Model) -> None:
        self._detector = open_detector(model)
        self.manifest = self._detector.artifact.manifest
        height, width = self.manifest.input.size
        self._detector(np.full((height, width, 3), 114, np.uint8))  # the first run of a session takes longest

    def run(self, jobs: Sequence[Job]) -> Answer:
        """Answer a batch."""
        return answer(self._detector, jobs)

    def close(self) -> None:
        """Release the runtime's memory."""
        self._detector.close()


def open_detector(model: Model) -> Detector:
    """Open a model's Detector.

    Raises what `Detector` raises; UsageError for a class that the model does not have.
    """
    from edgeyolo.artifact.artifact import Artifact

    names = Artifact.open(model.path).manifest.class_names
    classes = split_classes(model.classes, names) if model.classes else None
    return Detector(model.path, classes=classes, **{"hint": "shared", **model.options})


def answer(detector: Detector, jobs: Sequence[Job]) -> Answer:
    """Answer a batch with a detector.

    An image that cannot be read is an error of its own and leaves the others alone.
    """
    start = perf_counter()
    pixels = [_read(job) for job in jobs]
    decoded = perf_counter()
    detections, times = detector.timed([each for each in pixels if not isinstance(each, EdgeYoloError)])
    detected = perf_counter()
    left = iter(detections)
    found: list[Found | EdgeYoloError] = []
    for job, each in zip(jobs, pixels, strict=True):
        found.append(each if isinstance(each, EdgeYoloError) else _drawn(next(left), each, job.picture))
    seconds: dict[str, float] = {
        "decode": decoded - start,
        "preprocess": times.preprocess / 1e3,
        "inference": times.inference / 1e3,
        "postprocess": times.postprocess / 1e3,
        "draw": perf_counter() - detected,
    }
    return Answer(found, seconds)


def _read(job: Job) -> Any:
    try:
        return read_image(job.image, max_pixels=job.max_pixels)
    except EdgeYoloError as error:
        return error


def _drawn(
    detections: Detections, pixels: NDArray[np.uint8], picture: Picture | None
) -> Found | EdgeYoloError:
    """Draw detections into a file; an error where it cannot hold the picture."""
    if picture is None:
        return Found(detections)
    refused = UsageError(
        f"{picture}: expected sides of less than 65,500 pixels, got {pixels.shape[1]} x {pixels.shape[0]}",
        hint="Ask for JSON, or for image/png.",
    )
    try:
        done, data = cv2.imencode(f".{picture}", detections.plot(pixels))
    except cv2.error:  # some versions of OpenCV raise, others say it
        return refused
    return Found(detections, data.tobytes()) if done else refused
