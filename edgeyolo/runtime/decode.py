"""Raw head maps to boxes in numpy.

The one decoder, and the reference for those in graphs.

    xy = (2 sigmoid(t_xy) - 0.5 + cell) * stride        wh = (2 sigmoid(t_wh))^2 * anchor
    confidence = sigmoid(objectness) * sigmoid(class); sigmoid(objectness) where there is one class only

Only candidates are decoded: the objectness *logits* are compared with logit(conf) first, so that at usual
thresholds a sigmoid is taken of some hundred values, not of two million. Where thousands of cells pass, as at the
thresholds of evaluation, they are decoded from the best down, as far as suppression asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import DecodedBoxes, RankedBoxes, RawMaps
from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo.runtime.cells import Grid, grids, not_finite
from edgeyolo.runtime.postprocess_config import DISPLAY, PostprocessConfig

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int64]

# Cells that are decoded first where there are many: as a rule more than become detections.
_PORTION = 512


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

    def followed_by(self, other: Boxes) -> Boxes:
        """These boxes and then the others."""
        return Boxes(
            np.concatenate([self.xyxy, other.xyxy]),
            np.concatenate([self.confidence, other.confidence]),
            np.concatenate([self.class_id, other.class_id]),
        )


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
    tail = np.abs(x)
    np.exp(np.negative(tail, out=tail), out=tail)
    result: FloatArray = np.maximum(tail, x >= 0)  # 1 in place of the tail
    result /= np.add(tail, 1, out=tail)
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
    cells = _Cells.above_threshold(levels, output, config)
    return cells.boxes(_Span(config.max_candidates))


def decode_ranked(
    levels: Sequence[NDArray[Any]], output: RawMaps, config: PostprocessConfig
) -> Iterator[Boxes]:
    """`decode_levels` in portions, each below the one before in confidence.

    Whoever stops early, as suppression does once it has found its `max_det`, has only the best ones decoded. Boxes of
    a portion are in the order of `decode_levels`; those of equal confidence are in one portion.
    """
    cells = _Cells.above_threshold(levels, output, config)
    span = _Span(config.max_candidates)
    if len(cells) <= 3 * _PORTION:
        yield cells.boxes(span)
        return
    bounds = cells.bounds()
    for least in _steps(np.concatenate(bounds)):
        chosen = [each[bound >= least] for each, bound in zip(cells.places, bounds, strict=True)]
        boxes = replace(cells, places=chosen).boxes(replace(span, least=least))
        yield boxes
        span = _Span(span.most - len(boxes), below=least)
        if not span.most:
            return


def _steps(bounds: FloatArray) -> Iterator[float]:
    """Confidences down to which the portions reach.

    Each portion has twice the cells of the one before.
    """
    ordered, count = np.sort(bounds), _PORTION
    while count < len(ordered):
        yield float(ordered[-count])
        count *= 2
    yield -math.inf


@dataclass(frozen=True)
class _Span:
    """The best boxes, `most` at most, of a confidence from `least` to below `below`."""

    most: int
    least: float = -math.inf
    below: float = math.inf


@dataclass(frozen=True, eq=False)
class _Cells:
    """Cells of one image whose objectness is above the threshold.

    Attributes:
        maps: the raw maps.
        places: of each map, ascending; see `Grid.above`.
        output: what the maps mean.
        config: thresholds.
    """

    maps: Sequence[Grid]
    places: Sequence[IndexArray]
    output: RawMaps
    config: PostprocessConfig

    @classmethod
    def above_threshold(
        cls, levels: Sequence[NDArray[Any]], output: RawMaps, config: PostprocessConfig
    ) -> _Cells:
        """Find them; confidences themselves are compared further down."""
        maps, threshold = grids(levels, output), float(logit_floor(config.conf))
        return cls(maps, [each.above(threshold) for each in maps], output, config)

    def __len__(self) -> int:
        return sum(map(len, self.places))

    def bounds(self) -> list[FloatArray]:
        """Confidences (n,) of each map that no class of a cell is above.

        With some slack: a rounded sigmoid may fall a little where its logit rises.
        """
        found = []
        for each, places in zip(self.maps, self.places, strict=True):
            objectness, highest = each.best(places)
            confidence = sigmoid(objectness)
            if self.output.classes > 1:
                confidence *= sigmoid(highest)
            found.append(confidence * np.float32(1 + 1e-5))
        return found

    def boxes(self, span: _Span) -> Boxes:
        """Boxes in `span`, in the order map, anchor, row, column, class."""
        if not len(self):
            return Boxes(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
        found = [grid.rows(each) for grid, each in zip(self.maps, self.places, strict=True)]
        raw = np.concatenate(found)
        if math.isnan(raw.max()):
            broken = (np.isnan(each).any() for each in found)
            raise not_finite(next(compress((grid.name for grid in self.maps), broken)))
        firsts = accumulate((grid.size for grid in self.maps), initial=0)
        place = np.concatenate([each + first for each, first in zip(self.places, firsts, strict=False)])
        which, class_id, confidence = _score(raw, self.output.classes, self.config, span)
        if len(confidence) > span.most:
            best = best_candidates(confidence, span.most)
            which, class_id, confidence = which[best], class_id[best], confidence[best]
        frames = _frames(self.output, tuple((each.size, each.width) for each in self.maps))
        logits = raw[which, :4]
        if self.output.box_gain != 1:
            logits /= np.float32(self.output.box_gain)
        return Boxes(_corners(logits, frames[place[which]]), confidence, class_id)


@lru_cache(maxsize=16)
def _frames(output: RawMaps, sizes: tuple[tuple[int, int], ...]) -> FloatArray:
    """(n, 5) of all cells: left, top, stride, anchor's width and height, in pixels.

    `sizes` are cells, and cells in a row, of each map.
    """
    found = []
    for (size, width), stride, anchors in zip(sizes, output.strides, output.anchors, strict=True):
        row, column = np.divmod(np.arange(size // len(anchors)), width)
        frame = np.empty((len(anchors), len(row), 5), np.float32)
        frame[..., 0], frame[..., 1] = column, row
        frame[..., :2] *= np.float32(stride)
        frame[..., 2] = stride
        frame[..., 3:] = np.array(anchors, np.float32)[:, None]
        found.append(frame.reshape(size, 5))
    frames = np.concatenate(found)
    frames.setflags(write=False)
    return frames


def _corners(raw: FloatArray, frames: FloatArray) -> FloatArray:
    """Corners (n, 4) in pixels of raw x, y, width, height (n, 4).

    `frames` are those of their cells, as `_frames` gives them.
    """
    scaled = sigmoid(raw)
    scaled *= 2
    center, half = scaled[:, :2], np.square(scaled[:, 2:])
    center -= np.float32(0.5)
    center *= frames[:, 2:3]
    center += frames[:, :2]
    half *= frames[:, 3:]
    half *= np.float32(0.5)
    return np.concatenate([center - half, center + half], axis=1)


def read_decoded(rows: NDArray[Any], output: DecodedBoxes, config: PostprocessConfig) -> Boxes:
    """Candidates among one image's decoded boxes before suppression.

    The contract says how the boxes lie in the array.
    """
    if output.transposed:
        rows = rows.T
    if not output.objectness:
        return _read_scored(rows, output, config)
    if np.isnan(rows[:, 4].max()):
        raise not_finite(output.names[0])
    rows = rows[rows[:, 4] > config.conf].astype(np.float32, copy=False)
    if np.isnan(rows).any():
        raise not_finite(output.names[0])
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
        raise not_finite(output.names[0])
    rows = rows[best > config.conf].astype(np.float32)
    if np.isnan(rows).any():
        raise not_finite(output.names[0])
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
        raise not_finite(output.names[0])
    rows = rows[rows[:, 4] > config.conf].astype(np.float32)
    class_id, confidence = np.rint(rows[:, 5]).astype(np.int64), rows[:, 4]
    if len(rows) and not 0 <= class_id.min() <= class_id.max() < output.classes:
        raise EdgeYoloError(
            f"{output.names[0]!r} gives the class {class_id.max()}; there are {output.classes}"
        )
    keep = np.flatnonzero(passing(class_id, confidence, output.classes, config))
    keep = keep[np.argsort(-confidence[keep], kind="stable")][: config.max_det]
    return Boxes(rows[keep, :4], confidence[keep], class_id[keep])


def _score(
    rows: FloatArray, classes: int, config: PostprocessConfig, span: _Span
) -> tuple[IndexArray, IndexArray, FloatArray]:
    """Row, class and confidence of everything above `conf` and in `span`.

    It is in the order of rows, and then of classes.
    """
    which = np.arange(len(rows))
    if classes == 1:
        class_id, confidence = np.zeros(len(rows), np.int64), sigmoid(rows[:, 4])
    elif config.multi_label:
        # p * sigmoid(t) > conf  <=>  t > logit(conf / p): compare logits, take the sigmoid of what is left.
        objectness = sigmoid(rows[:, 4])
        least = max(config.conf, span.least)
        floor = logit_floor(least / np.maximum(objectness.astype(np.float64), 1e-30)).astype(np.float32)
        which, class_id = np.nonzero(rows[:, 5:] > floor[:, None])
        confidence = objectness[which] * sigmoid(rows[which, 5 + class_id])
    else:
        class_id = rows[:, 5:].argmax(axis=1)
        objectness, of_class = sigmoid(np.stack([rows[:, 4], rows[which, 5 + class_id]]))
        confidence = objectness * of_class
    keep = passing(class_id, confidence, classes, config)
    if span.least > -math.inf or span.below < math.inf:
        keep &= (confidence >= span.least) & (confidence < span.below)
    return (which, class_id, confidence) if keep.all() else (which[keep], class_id[keep], confidence[keep])


def passing(
    class_id: NDArray[Any], confidence: FloatArray, classes: int, config: PostprocessConfig
) -> NDArray[np.bool_]:
    """Mask of the scores above `conf` whose class is wanted.

    They are above `class_conf` too. UsageError for ids that a network of so many classes does not have, and for
    another number of `class_conf`.
    """
    keep = confidence > config.conf
    if config.class_conf is not None:
        if len(config.class_conf) != classes:
            raise UsageError(
                f"class_conf: expected {classes} confidences, one for each class, got {len(config.class_conf)}"
            )
        keep &= confidence > np.asarray(config.class_conf, np.float32)[class_id]
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
