"""Association of tracks with detections: how well each pair fits, and the best pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeyolo.runtime.nms import box_iou
from edgeyolo.tracking.assignment import solve_assignment
from edgeyolo.tracking.kalman import BoxStates

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

    @property
    def xyxy(self) -> Array:
        """(m, 4) corners."""
        half = self.boxes[2:] / 2
        return np.concatenate([self.boxes[:2] - half, self.boxes[:2] + half]).T


def fit(states: BoxStates, measured: Measured, overlap_weight: float) -> Array:
    """How well each predicted track explains each box, (n, m); 0 where a new object explains it better.

    The logarithm of a ratio: the density that the filter predicts at the measured box, as far as the track's own
    uncertainty spreads it, against one new object somewhere in a square of box heights. So a track lost for a second
    reaches further than one just seen, and less surely. A tenth of it is added to the overlap, which tells more where
    boxes are known well, and the detection's confidence weighs the sum.
    """
    spread = states.variance[:, :, None] + measured.noise[:, None, :]
    offset = measured.boxes[:, None, :] - states.mean[:, :, None]
    np.multiply(offset, offset, out=offset)
    distance = np.divide(offset, spread, out=offset).sum(axis=0)
    area = states.mean[3][:, None] * measured.boxes[3][None, :]
    volume = spread[0] * spread[1] * spread[2] * spread[3] / np.square(np.square(area))
    ratio = -0.5 * np.log(volume) - (_DEGREES + 4) / 2 * np.log1p(distance / _DEGREES)
    overlap = np.nan_to_num(box_iou(states.xyxy, measured.xyxy))
    result = (ratio / 10 + overlap_weight * overlap) * measured.confidence
    result[ratio <= 0] = 0
    return result


def pair(fitness: Array, least: float) -> tuple[IndexArray, IndexArray]:
    """Rows and columns of the pairs with the greatest summed fitness, none below `least`."""
    if not fitness.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rows, columns = solve_assignment(np.where(fitness >= least, -fitness, 0))
    good = fitness[rows, columns] >= least
    return rows[good], columns[good]
