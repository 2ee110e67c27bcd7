"""Ground truth and result of one sequence, frame by frame, ready to be compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import DatasetError
from edgeyolo.runtime.nms import box_iou
from edgeyolo.tracking.mot_files import MotRows

# IoU is compared with thresholds up to rounding, as in TrackEval.
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class FramePair:
    """Objects and tracks of one frame.

    Attributes:
        truth: (g,) int64 indices of objects, 0 .. objects - 1 of the sequence.
        tracks: (t,) int64 indices of tracks, 0 .. tracks - 1 of the sequence.
        iou: (g, t) float64.
    """

    truth: NDArray[np.int64]
    tracks: NDArray[np.int64]
    iou: NDArray[np.float64]


@dataclass(frozen=True)
class PairedSequence:
    """All frames of a sequence with the number of different objects and tracks in it."""

    frames: tuple[FramePair, ...]
    objects: int
    tracks: int

    @property
    def truth_boxes(self) -> int:
        """Number of ground truth boxes."""
        return sum(len(frame.truth) for frame in self.frames)

    @property
    def track_boxes(self) -> int:
        """Number of boxes of the result."""
        return sum(len(frame.tracks) for frame in self.frames)

    def counts(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Boxes of each object (objects,) and of each track (tracks,), as float64."""
        truth = np.concatenate([frame.truth for frame in self.frames] or [np.empty(0, np.int64)])
        tracks = np.concatenate([frame.tracks for frame in self.frames] or [np.empty(0, np.int64)])
        return (
            np.bincount(truth, minlength=self.objects).astype(np.float64),
            np.bincount(tracks, minlength=self.tracks).astype(np.float64),
        )


def pair_sequence(truth: MotRows, result: MotRows) -> PairedSequence:
    """Pair ground truth and result of one sequence, frame by frame.

    Rows of the ground truth whose confidence is not 1 and of the result whose id is below 0 are left out.

    Raises DatasetError where an id stands twice in one frame: the measures are not defined then.
    """
    truth, result = truth[truth.confidence == 1], result[result.track_id >= 0]
    for name, rows in (("ground truth", truth), ("result", result)):
        _refuse_repeated(name, rows)
    objects, truth_index = np.unique(truth.track_id, return_inverse=True)
    tracks, track_index = np.unique(result.track_id, return_inverse=True)
    truth_boxes, boxes = truth.xyxy, result.xyxy
    frames = []
    for number in np.union1d(truth.frame, result.frame).tolist():
        here, there = truth.frame == number, result.frame == number
        iou = np.nan_to_num(box_iou(truth_boxes[here], boxes[there]))
        frames.append(FramePair(truth_index[here], track_index[there], iou))
    return PairedSequence(tuple(frames), len(objects), len(tracks))


def _refuse_repeated(name: str, rows: MotRows) -> None:
    pairs, counts = np.unique(np.stack([rows.frame, rows.track_id]), axis=1, return_counts=True)
    if (counts > 1).any():
        frame, track = pairs[:, counts > 1][:, 0].tolist()
        raise DatasetError(
            f"{name}: expected each id once a frame, got id {track} {counts.max()} times in frame {frame}"
        )
