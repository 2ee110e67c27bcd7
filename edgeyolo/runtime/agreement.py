"""Agreement of two sets of detections.

It says what a deviation of raw maps means for the user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import GraphDetections, RawMaps
from edgeyolo.runtime.nms import box_iou
from edgeyolo.runtime.postprocess import DISPLAY, Boxes, decode, in_input
from edgeyolo.runtime.postprocess_config import settle
from edgeyolo.runtime.preprocess import Letterbox

CONFIDENT = DISPLAY.conf
# Looked for down to this confidence, so that a detection at the threshold's edge is not lost by a rounding.
MARGIN = 0.6
WEAK = replace(DISPLAY, conf=MARGIN * CONFIDENT)
LEAST_IOU = 0.5
EDGE = 0.05  # how far the IoU of two boxes may be off the threshold of suppression, by roundings of corners

# Half a unit in the last place of 1, for the formats that a float target computes or stores weights in. What other
# precisions cost is no rounding: detections are to show it.
UNITS = MappingProxyType({"fp32": 2.0**-24, "fp16": 2.0**-11, "bf16": 2.0**-8})
STEPS = 100  # convolutions in a row
ROUNDED = 3  # in each: weights, sum, activation
TERMS = 1000  # products of a sum, which is kept in float32


@dataclass(frozen=True)
class Agreement:
    """Counts of confident detections and of those with a counterpart.

    Of `detections` confident detections on either side, `matched` have a counterpart on the other.
    """

    matched: int = 0
    detections: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.matched + other.matched, self.detections + other.detections)

    @property
    def share(self) -> float | None:
        """The share that is matched, 0..1; None where there was nothing to match."""
        return self.matched / self.detections if self.detections else None


def agreement(expected: Boxes, actual: Boxes) -> Agreement:
    """Compare detections found with `WEAK`.

    A counterpart has the same class and an IoU of at least 0.5.
    """
    return _one_way(expected, actual) + _one_way(actual, expected)


def rounding(precision: str) -> float:
    """Rounding of a precision's raw maps, relative to the root of their mean square.

    Errors of n roundings add up to about sqrt(n) of one (Higham and Mary, A New Approach to Probabilistic Rounding
    Error Analysis, 2019). 0 for integers.
    """
    if precision not in UNITS:
        return 0.0
    return float(np.sqrt(STEPS) * (np.sqrt(ROUNDED) * UNITS[precision] + np.sqrt(TERMS) * UNITS["fp32"]))


def up_to_rounding(
    expected: Mapping[str, NDArray[Any]], actual: Mapping[str, NDArray[Any]], relative: float
) -> dict[str, NDArray[Any]]:
    """Actual maps, with the expected value where the two differ by rounding only.

    Of two scores that lie nearer to each other than either is known to, any may be ahead, and with it its box and
    class. Neither order is then the target's doing, and both sides are given the same one. A value that is further off
    stays what it is.

    Args:
        expected: raw maps by name.
        actual: the same of the target.
        relative: rounding as part of the root of a map's mean square (`rounding`).
    """
    settled = {}
    for name, want in expected.items():
        have = actual[name]
        allowed = relative * np.sqrt(np.mean(np.square(want, dtype=np.float64)))
        settled[name] = np.where(np.abs(have - want) <= allowed, want, have)
    return settled


def compare_detections(
    maps: Mapping[str, NDArray[Any]],
    raw: RawMaps,
    outputs: Mapping[str, NDArray[Any]],
    output: GraphDetections,
    letterboxes: Sequence[Letterbox],
) -> tuple[dict[str, float], Agreement]:
    """Compare a graph's detections with those of torch's maps.

    The latter are found by the host, with the same thresholds.

    A detection at the edge of a threshold may be on either side of it, so each side's are looked for on the other with
    a margin. Of two that score alike, either may suppress the other, and so change which of their neighbours stay: a
    counterpart need overlap no further than suppression asks for, as all that was suppressed overlaps one that stayed.
    A graph's own detections that overlap further than its threshold allows have none. How far scores and corners are
    off is measured against torch's candidates before suppression. It is given as parts of the largest logit, as
    deviations of maps are: a logit that is off by d moves a score by up to d/2, and a corner by up to about d/2 of the
    picture's side.
    """
    config = settle(output)
    weak = replace(config, conf=config.conf * MARGIN, max_det=output.max_candidates)
    half = max(float(np.abs(maps[name]).max()) for name in raw.names) / 2
    worst = {"scores": 0.0, "boxes": 0.0}
    agreed = Agreement()
    sides = in_input(maps, raw, letterboxes, weak), in_input(outputs, output, letterboxes, config)
    for index, (expected, actual, box) in enumerate(zip(*sides, letterboxes, strict=True)):
        # Where every row is used, what scores less than the last one found no room.
        least = max(config.conf, float(outputs["scores"][index][-1]))
        agreed += _suppressed_alike(expected, actual, least, config.iou)
        candidates, given = in_image(decode(maps, raw, weak, index), box), in_image(actual, box)
        for name, value in differences(candidates, given, max(box.image_size)).items():
            worst[name] = max(worst[name], value / half)
    return worst, agreed


def _suppressed_alike(expected: Boxes, actual: Boxes, conf: float, iou: float) -> Agreement:
    """Compare what a graph's suppression by `iou` left with the host's.

    Boxes are not clipped.
    """
    alone = actual[_stands_alone(actual, iou + EDGE)]
    found = Agreement(matched(alone, expected, iou).matched, len(actual))
    return found + matched(beyond_doubt(expected, conf), actual, iou)


def in_image(boxes: Boxes, letterbox: Letterbox) -> Boxes:
    """Boxes of the network's input in pixels of the image, clipped to it."""
    return replace(boxes, xyxy=letterbox.to_original(boxes.xyxy))


def _stands_alone(boxes: Boxes, iou: float) -> NDArray[np.bool_]:
    """True of boxes that no better one of their class overlaps.

    boxes: best first. iou: overlap from which it counts.
    """
    over = (box_iou(boxes.xyxy, boxes.xyxy) > iou) & _same_class(boxes, boxes)
    return np.logical_not(np.tril(over, -1).any(axis=1))


def beyond_doubt(boxes: Boxes, conf: float) -> Boxes:
    """Boxes so far above the threshold that the other side must have them."""
    return boxes[boxes.confidence >= certain(conf)]


def certain(conf: float) -> float:
    """A confidence that no rounding brings below the threshold `conf`."""
    return min(conf / MARGIN, (1 + conf) / 2)


def differences(expected: Boxes, actual: Boxes, side: float) -> dict[str, float]:
    """The largest differences of boxes that meet.

    They are those of scores, and of corners as parts of `side` pixels.
    """
    found = {"scores": 0.0, "boxes": 0.0}
    if not len(expected) or not len(actual):
        return found
    overlap = np.where(_same_class(actual, expected), box_iou(actual.xyxy, expected.xyxy), -np.inf)
    # Of counterparts that overlap alike, the one of the nearest score.
    near = overlap - np.abs(actual.confidence[:, None] - expected.confidence[None])
    best = near.argmax(axis=1)
    rows = np.flatnonzero(overlap[np.arange(len(actual)), best] >= LEAST_IOU)
    if len(rows):
        found["scores"] = float(np.abs(actual.confidence[rows] - expected.confidence[best[rows]]).max())
        found["boxes"] = float(np.abs(actual.xyxy[rows] - expected.xyxy[best[rows]]).max() / side)
    return found


def _one_way(boxes: Boxes, others: Boxes) -> Agreement:
    return matched(boxes[boxes.confidence >= CONFIDENT], others)


def matched(boxes: Boxes, others: Boxes, iou: float = 1.0) -> Agreement:
    """Count the boxes that have a counterpart among `others`.

    iou: threshold by which both were suppressed. Of boxes that score alike either may suppress the other, so a
    counterpart overlaps by as much as that, or by half.
    """
    meets = box_iou(boxes.xyxy, others.xyxy) >= min(LEAST_IOU, max(iou - EDGE, EDGE))
    return Agreement(int((meets & _same_class(boxes, others)).any(axis=1).sum()), len(boxes))


def _same_class(boxes: Boxes, others: Boxes) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = boxes.class_id[:, None] == others.class_id[None]
    return same
