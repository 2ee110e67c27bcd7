"""Raw head maps to boxes in numpy.

The one decoder, and the reference for those in graphs.

    xy = (2 sigmoid(t_xy) - 0.5 + cell) * stride        wh = (2 sigmoid(t_wh))^2 * anchor
    confidence = sigmoid(objectness) * sigmoid(class); sigmoid(objectness) where there is one class only

Only candidates are decoded: the objectness *logits* are compared with logit(conf) first, so that at usual
thresholds a sigmoid is taken of some hundred values, not of two million.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import DecodedBoxes, RankedBoxes, RawMaps
from edgeyolo.errors import EdgeYoloError, NotFiniteError, UsageError
from edgeyolo.runtime.postprocess_config import DISPLAY, PostprocessConfig

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes without names.

    xyxy (n, 4) float32 pixels, confidence (n,) float32, class_id (n,) int64.
    """

    xyxy: FloatArray
    confidence: FloatArray
    class_id: IndexArray

    def __len__(self) -> int:
        return len(self.confidence)

    def __getitem__(self, index: NDArray[Any]) -> Boxes:
        return Boxes(self.xyxy[index], self.confidence[index], self.class_id[index])


def decode(
    maps: Mapping[str, NDArray[Any]],
    output: RawMaps,
    config: PostprocessConfig = DISPLAY,
    image: int = 0,
) -> Boxes:
    """Candidates of one image of the batch before suppression.

    Boxes are in pixels of the network's input.

    At most `max_candidates`, the best ones, in the order level, anchor, row, column, class.
    """
    return decode_levels([np.asarray(maps[name])[image] for name in output.names], output, config)


def sigmoid(x: FloatArray) -> FloatArray:
    """1 / (1 + e^-x) without overflow, in the dtype of x.

    The relative precision is full for very negative x too.
    """
    tail = np.exp(-np.abs(x))
    result: FloatArray = np.where(x >= 0, x.dtype.type(1), tail) / (1 + tail)
    return result


def logit_floor(p: Any) -> NDArray[np.float64]:
    """A logit that every float32 x with sigmoid(x) > p exceeds.

    A little below logit(p), -inf at 0.

    The slack covers rounding: near 1 float32 resolves the sigmoid, not the logit.
    """
    p = np.minimum(np.asarray(p, np.float64), 1 - 1e-6)
    with np.errstate(divide="ignore"):
        floor: NDArray[np.float64] = np.log(p) - np.log1p(-p) - (1e-3 + 2e-7 / (1 - p))
    return floor


def decode_levels(levels: Sequence[NDArray[Any]], output: RawMaps, config: PostprocessConfig) -> Boxes:
    """`decode` of one image's maps, in the order of the contract's names."""
    threshold = float(logit_floor(config.conf))  # confidences themselves are compared further down
    values, offsets, scales = [], [], []
    for level, name in enumerate(output.names):
        rows, anchor, cell, width = _candidates(levels[level], output, level, threshold)
        if not len(rows):
            continue
        if np.isnan(rows).any():
            raise _nan(name)
        stride = np.float32(output.strides[level])
        values.append(rows)
        offsets.append(np.stack([cell % width, cell // width], axis=1).astype(np.float32) * stride)
        sizes = np.asarray(output.anchors[level], np.float32)[anchor]
        scales.append(np.concatenate([np.full_like(sizes, stride), sizes], axis=1))
    if not values:
        return Boxes(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    rows, scale = np.concatenate(values), np.concatenate(scales)
    which, class_id, confidence = _score(rows, output.classes, config)
    if len(confidence) > config.max_candidates:
        best = best_candidates(confidence, config.max_candidates)
        which, class_id, confidence = which[best], class_id[best], confidence[best]
    scaled = 2 * sigmoid(rows[which, :4])
    center = (scaled[:, :2] - np.float32(0.5)) * scale[which, :2] + np.concatenate(offsets)[which]
    half = np.square(scaled[:, 2:]) * scale[which, 2:] * np.float32(0.5)
    return Boxes(np.concatenate([center - half, center + half], axis=1), confidence, class_id)


def read_decoded(rows: NDArray[Any], output: DecodedBoxes, config: PostprocessConfig) -> Boxes:
    """Candidates among one image's decoded boxes before suppression.

    The contract says how the boxes lie in the array.
    """
    if output.transposed:
        rows = rows.T
    if not output.objectness:
        return _read_scored(rows, output, config)
    if np.isnan(rows[:, 4].max()):
        raise _nan(output.names[0])
    rows = rows[rows[:, 4] > config.conf].astype(np.float32, copy=False)
    if np.isnan(rows).any():
        raise _nan(output.names[0])
    scores = rows[:, 4:5] if output.classes == 1 else rows[:, 4:5] * rows[:, 5:]
    if config.multi_label:
        which, class_id = np.nonzero(scores > config.conf)
    else:
        which, class_id = np.arange(len(rows)), scores.argmax(axis=1)
    confidence = scores[which, class_id]
    keep = passing(class_id, confidence, output.classes, config)
    which, class_id, confidence = which[keep], class_id[keep].astype(np.int64), confidence[keep]
    center, half = rows[which, :2], rows[which, 2:4] * np.float32(0.5)
    return Boxes(np.concatenate([center - half, center + half], axis=1), confidence, class_id)


def _read_scored(rows: NDArray[Any], output: DecodedBoxes, config: PostprocessConfig) -> Boxes:
    """`read_decoded` of rows that have a score for each class and no objectness."""
    best = rows[:, 4:].max(axis=1)
    if np.isnan(best.max()):
        raise _nan(output.names[0])
    rows = rows[best > config.conf].astype(np.float32)
    if np.isnan(rows).any():
        raise _nan(output.names[0])
    if config.multi_label:
        which, class_id = np.nonzero(rows[:, 4:] > config.conf)
    else:
        which, class_id = np.arange(len(rows)), rows[:, 4:].argmax(axis=1)
    confidence = rows[which, 4 + class_id]
    keep = passing(class_id, confidence, output.classes, config)
    which, class_id, confidence = which[keep], class_id[keep].astype(np.int64), confidence[keep]
    center, half = rows[which, :2], rows[which, 2:4] * np.float32(0.5)
    return Boxes(np.concatenate([center - half, center + half], axis=1), confidence, class_id)


def read_ranked(rows: NDArray[Any], output: RankedBoxes, config: PostprocessConfig) -> Boxes:
    """Detections among one image's rows (rows, 6), best first.

    Nothing is suppressed, whatever `config.iou`.
    """
    if np.isnan(rows).any():
        raise _nan(output.names[0])
    rows = rows[rows[:, 4] > config.conf].astype(np.float32)
    class_id, confidence = np.rint(rows[:, 5]).astype(np.int64), rows[:, 4]
    if len(rows) and not 0 <= class_id.min() <= class_id.max() < output.classes:
        raise EdgeYoloError(
            f"{output.names[0]!r} gives the class {class_id.max()}; there are {output.classes}"
        )
    keep = np.flatnonzero(passing(class_id, confidence, output.classes, config))
    keep = keep[np.argsort(-confidence[keep], kind="stable")][: config.max_det]
    return Boxes(rows[keep, :4], confidence[keep], class_id[keep])


def _candidates(
    level: NDArray[Any], output: RawMaps, index: int, threshold: float
) -> tuple[FloatArray, IndexArray, IndexArray, int]:
    """Logits (n, 5 + classes) above the objectness threshold, with their places.

    The places are anchor and cell, and the grid's width.
    """
    anchors, channels = len(output.anchors[index]), 5 + output.classes
    first = output.layout == "NCHW"
    height, width = level.shape[1:] if first else level.shape[:2]
    cells = height * width
    if first:
        planes = level.reshape(anchors, channels, cells)
        objectness = planes[:, 4]
    else:
        planes = level.reshape(cells, anchors, channels)
        objectness = planes[:, :, 4].T
    if np.isnan(objectness.max()):  # the maximum of an array with NaN in it is NaN
        raise _nan(output.names[index])
    anchor, cell = np.divmod(np.flatnonzero(objectness > threshold), cells)
    rows = planes[anchor, :, cell] if first else planes[cell, anchor]
    return rows.astype(np.float32, copy=False), anchor, cell, width


def _score(
    rows: FloatArray, classes: int, config: PostprocessConfig
) -> tuple[IndexArray, IndexArray, FloatArray]:
    """Row, class and confidence of everything above `conf`, by row and then by class."""
    objectness = sigmoid(rows[:, 4])
    which = np.arange(len(rows))
    if classes == 1:
        class_id, confidence = np.zeros(len(rows), np.int64), objectness
    elif config.multi_label:
        # p * sigmoid(t) > conf  <=>  t > logit(conf / p): compare logits, take the sigmoid of what is left.
        floor = logit_floor(config.conf / np.maximum(objectness.astype(np.float64), 1e-30)).astype(np.float32)
        which, class_id = np.nonzero(rows[:, 5:] > floor[:, None])
        confidence = objectness[which] * sigmoid(rows[which, 5 + class_id])
    else:
        class_id = rows[:, 5:].argmax(axis=1)
        confidence = objectness * sigmoid(rows[which, 5 + class_id])
    keep = passing(class_id, confidence, classes, config)
    return which[keep], class_id[keep], confidence[keep]


def passing(
    class_id: NDArray[Any], confidence: FloatArray, classes: int, config: PostprocessConfig
) -> NDArray[np.bool_]:
    """Mask of the scores above `conf` whose class is wanted.

    UsageError for ids that a network of so many classes does not have.
    """
    keep = confidence > config.conf
    if config.classes is not None:
        if unknown := [index for index in config.classes if not 0 <= index < classes]:
            raise UsageError(f"classes={unknown}: the network has the classes 0 to {classes - 1}")
        keep &= np.isin(class_id, config.classes)
    return keep


def best_candidates(confidence: FloatArray, count: int) -> IndexArray:
    """Positions of the `count` highest values, in input order.

    The first of equal ones are taken.
    """
    limit = np.partition(confidence, len(confidence) - count)[len(confidence) - count]
    above = np.flatnonzero(confidence > limit)
    equal = np.flatnonzero(confidence == limit)[: count - len(above)]
    return np.sort(np.concatenate([above, equal]))


def _nan(name: str) -> NotFiniteError:
    return NotFiniteError(
        f"raw map {name!r} holds NaN: the network's output is not usable",
        hint="Overflow in half precision or damaged weights are the usual causes: try an fp32 target, "
        "then compare with the weights themselves (edgeyolo val WEIGHTS).",
    )
