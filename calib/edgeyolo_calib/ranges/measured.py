"""Ranges that were measured before, in place of the images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.errors import UsageError
from edgeyolo_calib.ranges.statistics import Statistics


@dataclass(frozen=True)
class MeasuredRanges:
    """A `CalibrationSource` without images.

    Complete statistics in the file `ranges`, and `floats` that stand in it.
    """

    ranges: Path
    sha256: str
    count: int
    described: str
    floats: tuple[str, ...] = ()

    def batches(self, contract: InputContract) -> Iterator[NDArray[Any]]:
        """Raise a UsageError: the images are not here.

        Who asks for images has a quantizer of its own, or another network or size.
        """
        raise UsageError(
            f"{self.ranges} holds ranges for our own quantizers; this target's needs the images themselves",
            hint="Give the images: --calib DATA.",
        )

    def pictures(self, count: int) -> list[NDArray[np.uint8]]:
        """Empty list: the images are not here."""
        return []


@dataclass(frozen=True)
class ChosenImages:
    """Images of another source with ranges measured before.

    The layers that stay in float come with them.
    """

    images: CalibrationSource
    ranges: Path
    floats: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """SHA-256 of the images."""
        return self.images.sha256

    @property
    def count(self) -> int:
        """Number of images."""
        return self.images.count

    @property
    def described(self) -> str:
        """Description of the images."""
        return self.images.described

    def batches(self, contract: InputContract) -> Iterator[NDArray[Any]]:
        """The images as input arrays of the contract."""
        return self.images.batches(contract)

    def pictures(self, count: int) -> list[NDArray[np.uint8]]:
        """The first `count` images as they are."""
        return self.images.pictures(count)


def open_ranges(path: str | Path, *, images: CalibrationSource | None = None) -> CalibrationSource:
    """Read what `edgeyolo calibrate` left in `ranges.json`.

    With `images`, which must be those it was measured on, the result gives them too: quantizers of a
    runtime's own take the images, and which layers stay in float.

    Raises:
        UsageError: there is no such file, the run that wrote it was stopped, or `images` are others.
        DamagedFileError: it is something else.
    """
    found = Statistics.load(path)
    if not found.complete:
        raise UsageError(
            f"{path}: the calibration was stopped after {found.done} batches",
            hint="Run edgeyolo calibrate again with the same -o: it goes on.",
        )
    origin = found.origin
    if images is not None:
        if images.sha256 != origin.images:
            raise UsageError(
                f"{path} was measured on {origin.described}, and --calib gives {images.described}",
                hint="Give the same --calib, images and seed, or leave out one of --calib and --ranges.",
            )
        return ChosenImages(images, Path(path), found.floats)
    return MeasuredRanges(Path(path), origin.images, origin.count, origin.described, found.floats)
