"""Whether two sets of detections say the same: what a deviation of raw maps means for the user."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeyolo.nms import box_iou
from edgeyolo.postprocess import DISPLAY, Boxes

CONFIDENT = DISPLAY.conf
# Looked for down to this confidence, so that a detection at the threshold's edge is not lost by a rounding.
WEAK = replace(DISPLAY, conf=0.6 * CONFIDENT)
LEAST_IOU = 0.5


@dataclass(frozen=True)
class Agreement:
    """Of `detections` confident detections on either side, `matched` have a counterpart on the other."""

    matched: int = 0
    detections: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.matched + other.matched, self.detections + other.detections)

    @property
    def share(self) -> float | None:
        """The share that is matched, 0..1; None where there was nothing to match."""
        return self.matched / self.detections if self.detections else None


def agreement(expected: Boxes, actual: Boxes) -> Agreement:
    """Compare detections found with `WEAK`: a counterpart has the same class and an IoU of at least 0.5."""
    return _one_way(expected, actual) + _one_way(actual, expected)


def _one_way(boxes: Boxes, others: Boxes) -> Agreement:
    confident = boxes[boxes.confidence >= CONFIDENT]
    if not len(confident) or not len(others):
        return Agreement(0, len(confident))
    meets = box_iou(confident.xyxy, others.xyxy) >= LEAST_IOU
    same = confident.class_id[:, None] == others.class_id[None]
    return Agreement(int((meets & same).any(axis=1).sum()), len(confident))
