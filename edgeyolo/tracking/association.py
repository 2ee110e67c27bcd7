"""Association of tracks with detections: the fit of each pair, the best pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeyolo.runtime.nms import box_iou
from edgeyolo.tracking.assignment import solve_assignment
from edgeyolo.tracking.kalman import BoxStates, corners

Array = NDArray[np.float64]
IndexArray = NDArray[np.int64]

_DEGREES = 6.0  # of freedom of Student's t: detectors' errors have heavier tails than a Gaussian


@dataclass(frozen=True, eq=False)
class Measured:
    """Boxes of one frame as the filter takes them.

    Attributes:
        boxes: (4, m) float64 centre x, centre y, width, height in pixels.
        noise: (4, m) their variances.
        confidence: (m,) float64 in 0..1, on the scale of `ConfidenceScale`.
        class_id: (m,) int64.
    """

    boxes: Array
    noise: Array
    confidence: Array
    class_id: IndexArray

    def take(self, index: IndexArray) -> Measured:
        """Some of the boxes."""
        return Measured(
            self.boxes[:, index], self.noise[:, index], self.confidence[index], self.class_id[index]
        )


def fit(states: BoxStates, measured: Measured, overlap_weight: float) -> Array:
    """Fit of each predicted track with each box.

    The logarithm of a ratio: the density that the filter predicts at the measured box, as far as the track's own
    uncertainty spreads it, against one new object somewhere in a square of box heights. So a track lost for a second
    reaches further than one just seen, and less surely. A tenth of it is added to the weighted overlap, which tells
    more where boxes are known well, and the detection's confidence weighs the sum.

    Args:
        states: n tracks at the time of the frame.
        measured: m boxes.
        overlap_weight: weight of the IoU.

    Returns:
        (n, m) float64; 0 where a new object explains the box better than the track.
    """
    shape = (states.mean.shape[1], measured.boxes.shape[1])
    offset, spread, tail = np.empty(shape), np.empty(shape), np.ones(shape)
    volume = 1 / np.square(np.square(np.multiply.outer(states.mean[3], measured.boxes[3])))
    for row in range(4):  # a coordinate at a time: arrays of all four leave the cache
        np.subtract.outer(states.mean[row], measured.boxes[row], out=offset)
        np.add.outer(states.variance[row], measured.noise[row], out=spread)
        offset *= offset
        offset /= spread
        tail += offset / _DEGREES
        volume *= spread
    ratio = -0.5 * np.log(volume) - (_DEGREES + 4) / 2 * np.log(tail)
    result = box_iou(corners(states.mean), corners(measured.boxes))
    result *= overlap_weight
    result += ratio / 10
    result *= measured.confidence
    result[ratio <= 0] = 0
    return result


def pair(fitness: Array, least: float) -> tuple[IndexArray, IndexArray]:
    """Rows and columns of the best pairs, by summed fitness, none below `least`."""
    if not fitness.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rows, columns = solve_assignment(np.where(fitness >= least, -fitness, 0))
    good = fitness[rows, columns] >= least
    return rows[good], columns[good]
