"""Tracking of detections that are already in a MOT text file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgeyolo.errors import DatasetError
from edgeyolo.runtime.detections import Detections
from edgeyolo.tracking.mot_files import MotRows, SequenceInfo
from edgeyolo.tracking.tracker import Tracker
from edgeyolo.tracking.tracks import Tracks

NAMES = ("object",)  # a MOT detection file has no classes


def replay(rows: MotRows, info: SequenceInfo, tracker: Tracker) -> Iterator[tuple[int, Tracks]]:
    """Number (from 1) and tracks of every frame of the sequence.

    Frames without detections count too.

    Raises DatasetError where confidences are not probabilities or a frame is not of the sequence.
    """
    if len(rows) and not ((rows.confidence >= 0) & (rows.confidence <= 1)).all():
        raise DatasetError(
            "detections: expected confidences (column 7) from 0 to 1, got "
            f"{rows.confidence.min():g} to {rows.confidence.max():g}",
            hint="Map the detector's scores to probabilities first.",
        )
    if len(rows) and rows.frame.max() > info.length:
        raise DatasetError(f"detections: got frame {rows.frame.max()} of a sequence of {info.length} frames")
    rows = rows[np.argsort(rows.frame, kind="stable")]
    bounds = np.searchsorted(rows.frame, np.arange(1, info.length + 2))
    for index in range(info.length):
        part = rows[bounds[index] : bounds[index + 1]]
        kinds = np.zeros(len(part), np.int64)
        found = Detections(
            part.xyxy.astype(np.float32), part.confidence.astype(np.float32), kinds, NAMES, info.image_size
        )
        yield index + 1, tracker.update(found, index / info.frame_rate)
