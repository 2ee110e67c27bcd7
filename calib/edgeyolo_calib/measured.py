"""Ranges that were measured before, in place of the images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeyolo.contracts import InputContract
from edgeyolo.errors import UsageError
from edgeyolo_calib.statistics import Statistics


@dataclass(frozen=True)
class MeasuredRanges:
    """A `CalibrationSource` without images: complete statistics in the file `ranges`."""

    ranges: Path
    sha256: str
    count: int
    described: str

    def batches(self, contract: InputContract) -> Iterator[NDArray[Any]]:
        """Always a UsageError: who asks for images has a quantizer of its own, or another network or size."""
        raise UsageError(
            f"{self.ranges} holds ranges for our own quantizers; this target's needs the images themselves",
            hint="Give the images: --calib DATA.",
        )


def open_ranges(path: str | Path) -> MeasuredRanges:
    """Read what `edgeyolo calibrate` left in `ranges.json`.

    Raises:
        UsageError: there is no such file, or the run that wrote it was stopped.
        DamagedFileError: it is something else.
    """
    found = Statistics.load(path)
    if not found.complete:
        raise UsageError(
            f"{path}: the calibration was stopped after {found.done} batches",
            hint="Run edgeyolo calibrate again with the same -o: it goes on.",
        )
    return MeasuredRanges(Path(path), found.origin.images, found.origin.count, found.origin.described)
