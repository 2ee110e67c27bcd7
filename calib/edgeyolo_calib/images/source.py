"""Calibration images from any data set or folder.

They are sampled, identified, and prepared exactly as at run time.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.datasets import Dataset, load_dataset
from edgeyolo.datasets.load import DATA_YAML
from edgeyolo.datasets.voc import is_voc
from edgeyolo.errors import DatasetError, ImageError, UsageError
from edgeyolo.runtime.images import find_images, read_image
from edgeyolo.runtime.preprocess import preprocess
from edgeyolo_calib.images.content import identify, shared_pictures
from edgeyolo_calib.images.sampling import EMPTY, strata, stratified

ENOUGH = 100
"""Fewer images than this leave ranges to chance."""

_LOG = logging.getLogger("edgeyolo_calib")


@dataclass
class ImageSource:
    """A sample of image files.

    Implements `edgeyolo.backend.interface.CalibrationSource`.

    `paths` are decoded only when they are needed. A file that then turns out to be broken is left out, noted in
    `broken` (path -> what is wrong) and no longer in `count`; `sha256` covers the bytes of all files, in order, broken
    or not. `ranges`, `floats`: see the protocol. `progress` is called with (images done, images in all) while
    `batches` is read.
    """

    paths: tuple[Path, ...]
    sha256: str
    described: str
    progress: Callable[[int, int | None], None] | None = None
    ranges: Path | None = None
    floats: tuple[str, ...] = ()
    broken: dict[Path, str] = field(default_factory=dict)
    count: int = field(init=False)

    def __post_init__(self) -> None:
        self.count = len(self.paths) - len(self.broken)

    def batches(self, contract: InputContract) -> Iterator[NDArray[Any]]:
        """The images as input arrays of the contract.

        They come `contract.batch` at a time, each a new array.

        The last batch is filled up with the first images again. Every call starts from the first image.
        Raises DatasetError where no image can be read.
        """
        group: list[NDArray[np.uint8]] = []
        first: list[NDArray[np.uint8]] = []
        for done, (_, image) in enumerate(self._decode(), start=1):
            if len(first) < contract.batch:
                first.append(image)
            group.append(image)
            if len(group) == contract.batch:
                yield preprocess(group, contract)[0]
                group = []
            if self.progress:
                self.progress(done, self.count)
        if group:
            missing = contract.batch - len(group)
            group += [first[i % len(first)] for i in range(missing)]
            yield preprocess(group, contract)[0]

    def pictures(self, count: int) -> list[NDArray[np.uint8]]:
        """The first `count` images that can be read, BGR in their own size.

        Fewer where there are fewer.
        """
        return [image for _, image in islice(self._decode(), count)]

    def names(self) -> list[str]:
        """The files' names, in the order of the sample."""
        return [path.name for path in self.paths]

    def thumbnails(self, count: int = 48, side: int = 120) -> dict[str, str]:
        """Small pictures of the first images, as data URIs (JPEG) by name."""
        found = {}
        for path, image in islice(self._decode(), count):
            scale = side / max(image.shape[:2])
            width, height = (max(1, round(length * scale)) for length in image.shape[1::-1])
            small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            done, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
            if done:
                text = base64.b64encode(encoded.tobytes()).decode("ascii")
                found[path.name] = f"data:image/jpeg;base64,{text}"
        return found

    def broken_names(self) -> dict[str, str]:
        """Faults of the files that were left out, by name."""
        return {path.name: reason for path, reason in self.broken.items()}

    def _decode(self) -> Iterator[tuple[Path, NDArray[np.uint8]]]:
        for path in self.paths:
            if path in self.broken:
                continue
            try:
                image = read_image(path)
            except ImageError as error:
                self.broken[path] = error.message
                self.count -= 1
                _LOG.warning("calibration image left out: %s", error.message)
                continue
            yield path, image
        if not self.count:
            reasons = "; ".join(list(self.broken.values())[:3])
            raise DatasetError(f"none of the {len(self.paths)} calibration images can be read: {reasons}")


def open_images(
    data: str | Path,
    images: int = 300,
    *,
    split: str | None = None,
    seed: int = 0,
    evaluation: Dataset | Sequence[Path] | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> ImageSource:
    """Sample calibration images from a data set or a folder.

    Args:
        data: a COCO json, a data.yaml, a folder in VOC, YOLO or COCO form, or any folder, file or pattern of
            images (folders are searched recursively).
        images: how many; all where there are fewer.
        split: which split of a data set, by default "train" where it has one.
        seed: of the sample. With labels it is stratified by class and object size.
        evaluation: what the network will be judged on: none of its pictures may be used.
        progress: see `ImageSource`.

    Raises:
        UsageError: `images` is not positive, or pictures lie in `evaluation` too.
        DatasetError, ImageError: `data` cannot be read.
    """
    if images < 1:
        raise UsageError(f"calibration: expected at least one image, {images} were asked for")
    paths, groups, what = _find(data, split)
    chosen = [paths[i] for i in stratified(groups, images, seed)]
    if evaluation is not None:
        judged = [each.path for each in evaluation.images] if isinstance(evaluation, Dataset) else evaluation
        _refuse_shared(chosen, judged)
    if len(chosen) < ENOUGH:
        _LOG.warning("%d calibration images; at least %d are advised", len(chosen), ENOUGH)
    how = "stratified by class and object size" if set(groups) != {EMPTY} else "without labels"
    described = f"{len(chosen)} of the {len(paths)} images of {what}, seed {seed}, {how}"
    return ImageSource(tuple(chosen), identify(chosen), described, progress)


def _find(data: str | Path, split: str | None) -> tuple[list[Path], list[tuple[int, str]], str]:
    """Image files, the stratum of each, and the name of the whole."""
    path = Path(data)
    if not _is_dataset(path):
        if split is not None:
            raise UsageError(f"{data}: only data sets have splits; this is a folder, file or pattern")
        found = find_images(data, recursive=True)
        for line in found.sentences():
            _LOG.warning("left out: %s", line)
        return found.files, [EMPTY] * len(found.files), path.name
    dataset = _load(path, split)
    return [sample.path for sample in dataset.images], strata(dataset.images), dataset.name


def _is_dataset(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in (".json", ".yaml", ".yml")
    yolo = any((path / name).is_file() for name in DATA_YAML)
    coco = any(next(folder.glob("*.json"), None) for folder in (path, path / "annotations"))
    return yolo or coco or is_voc(path)


def _load(path: Path, split: str | None) -> Dataset:
    if split is not None or path.suffix.lower() == ".json":  # a json file is one split
        return load_dataset(path, split)
    try:
        return load_dataset(path, "train")
    except DatasetError as error:
        try:
            other = load_dataset(path)
        except DatasetError:
            raise error from None
        _LOG.warning("calibration images come from %s: %s", other.name, error.message)
        return other


def _refuse_shared(chosen: Sequence[Path], judged: Sequence[Path]) -> None:
    pairs = shared_pictures(chosen, judged)
    if pairs:
        shown = "; ".join(f"{path} is {other}" for path, other in pairs[:3])
        raise UsageError(
            f"{len(pairs)} of {len(chosen)} calibration images are evaluated on too: {shown}",
            hint="Calibrate on the training split: ranges fitted to the test images flatter the result.",
        )
