"""Raw head maps to boxes: the one decoder, used behind every backend.

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

from edgeyolo.contracts import OutputContract
from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo.nms import nms
from edgeyolo.preprocess import Letterbox

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int64]


@dataclass(frozen=True)
class PostprocessConfig:
    """What becomes a detection.

    Attributes:
        conf: a detection's confidence must be above this (0..1).
        iou: of two boxes of a class that overlap by more than this, the weaker one goes (0..1).
        max_det: at most this many detections per image, the best ones.
        multi_label: a box gives one detection for every class above `conf`; otherwise its best class only.
        agnostic: boxes suppress each other across classes.
        classes: keep detections of these class ids only; None keeps all. A box whose best class is not among
            them goes, even if its second best is (unless `multi_label`).
        max_candidates: at most this many candidates, the best ones, enter the suppression.
    """

    conf: float = 0.25
    iou: float = 0.45
    max_det: int = 300
    multi_label: bool = False
    agnostic: bool = False
    classes: tuple[int, ...] | None = None
    max_candidates: int = 30_000

    def __post_init__(self) -> None:
        for name in ("conf", "iou"):
            value = getattr(self, name)
            if not isinstance(value, (int, float, np.number)) or not 0 <= value <= 1:  # refuses NaN too
                raise UsageError(f"{name}={value!r}: expected a number from 0 to 1")
        for name in ("max_det", "max_candidates"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise UsageError(f"{name}={value!r}: expected a whole number from 1")
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(sorted({int(index) for index in self.classes})))


DISPLAY = PostprocessConfig()
"""What a person wants to see: confidence 0.25, IoU 0.45, the best class of each box."""

EVALUATION = PostprocessConfig(conf=0.001, iou=0.65, multi_label=True)
"""The protocol behind the paper's AP: confidence 0.001, IoU 0.65, every class, at most 300 detections."""

TRACKING = PostprocessConfig(conf=0.1)
"""For trackers that use weak detections in a second round (ByteTrack): DISPLAY with scores down to 0.1."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes without names: xyxy (n, 4) float32 pixels, confidence (n,) float32, class_id (n,) int64."""

    xyxy: FloatArray
    confidence: FloatArray
    class_id: IndexArray

    def __len__(self) -> int:
        return len(self.confidence)

    def __getitem__(self, index: NDArray[Any]) -> Boxes:
        return Boxes(self.xyxy[index], self.confidence[index], self.class_id[index])


def postprocess(
    maps: Mapping[str, NDArray[Any]],
    output: OutputContract,
    letterboxes: Sequence[Letterbox],
    config: PostprocessConfig = DISPLAY,
) -> list[Boxes]:
    """Detections of every image of a batch, highest confidence first, in pixels of the original images.

    Args:
        maps: raw maps by name, shaped as `output` says, for at least as many images as there are letterboxes.
        output: what the maps mean.
        letterboxes: where each image lies in the network's input; rows of the batch beyond them are not
            looked at.
        config: thresholds.

    Raises:
        EdgeYoloError: a map is missing or of another shape, or holds NaN where it was read.
        UsageError: `config.classes` names a class that the network does not have.
    """
    levels = _levels(maps, output, letterboxes)
    found = []
    for index, box in enumerate(letterboxes):
        best = suppress(_decode([level[index] for level in levels], output, config), config)
        original = Boxes(box.to_original(best.xyxy), best.confidence, best.class_id)
        # A box that lay wholly in the padding is a line or a point after clipping: nothing to show or to
        # grip.
        solid = np.all(original.xyxy[:, 2:] > original.xyxy[:, :2], axis=1)
        found.append(original if solid.all() else original[solid])
    return found


def decode(
    maps: Mapping[str, NDArray[Any]],
    output: OutputContract,
    config: PostprocessConfig = DISPLAY,
    image: int = 0,
) -> Boxes:
    """The candidates of one image of the batch, in pixels of the network's input, before suppression.

    At most `max_candidates`, the best ones, in the order level, anchor, row, column, class.
    """
    return _decode([np.asarray(maps[name])[image] for name in output.names], output, config)


def suppress(boxes: Boxes, config: PostprocessConfig = DISPLAY) -> Boxes:
    """The best `max_candidates` of `boxes` after non-maximum suppression, at most `max_det`, best first."""
    if len(boxes) > config.max_candidates:
        boxes = boxes[_best(boxes.confidence, config.max_candidates)]
    classes = None if config.agnostic else boxes.class_id
    return boxes[nms(boxes.xyxy, boxes.confidence, classes, config.iou, config.max_det)]


def sigmoid(x: FloatArray) -> FloatArray:
    """1 / (1 + e^-x) without overflow and with full relative precision for very negative x; dtype kept."""
    tail = np.exp(-np.abs(x))
    result: FloatArray = np.where(x >= 0, x.dtype.type(1), tail) / (1 + tail)
    return result


def logit_floor(p: Any) -> NDArray[np.float64]:
    """A logit that every float32 x with sigmoid(x) > p exceeds; a little below logit(p), -inf at 0.

    The slack covers rounding: near 1 float32 resolves the sigmoid, not the logit.
    """
    p = np.minimum(np.asarray(p, np.float64), 1 - 1e-6)
    with np.errstate(divide="ignore"):
        floor: NDArray[np.float64] = np.log(p) - np.log1p(-p) - (1e-3 + 2e-7 / (1 - p))
    return floor


def _levels(
    maps: Mapping[str, NDArray[Any]], output: OutputContract, letterboxes: Sequence[Letterbox]
) -> list[NDArray[Any]]:
    """The maps in the contract's order, their shapes checked against the letterboxes."""
    if missing := [name for name in output.names if name not in maps]:
        raise EdgeYoloError(f"the network gave {sorted(maps)}, the output contract expects also {missing}")
    levels = [np.asarray(maps[name]) for name in output.names]
    if letterboxes:
        shapes = output.map_shapes(len(letterboxes), letterboxes[0].size)
        for name, level, expected in zip(output.names, levels, shapes, strict=True):
            if level.shape[1:] != expected[1:] or len(level) < expected[0]:
                raise EdgeYoloError(f"raw map {name!r}: expected the shape {expected}, came {level.shape}")
    return levels


def _decode(levels: Sequence[NDArray[Any]], output: OutputContract, config: PostprocessConfig) -> Boxes:
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
        best = _best(confidence, config.max_candidates)
        which, class_id, confidence = which[best], class_id[best], confidence[best]
    scaled = 2 * sigmoid(rows[which, :4])
    center = (scaled[:, :2] - np.float32(0.5)) * scale[which, :2] + np.concatenate(offsets)[which]
    half = np.square(scaled[:, 2:]) * scale[which, 2:] * np.float32(0.5)
    return Boxes(np.concatenate([center - half, center + half], axis=1), confidence, class_id)


def _candidates(
    level: NDArray[Any], output: OutputContract, index: int, threshold: float
) -> tuple[FloatArray, IndexArray, IndexArray, int]:
    """Logits (n, 5 + classes) above the objectness threshold, their anchor and cell, and the grid's width."""
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
    keep = confidence > config.conf
    if config.classes is not None:
        unknown = [index for index in config.classes if not 0 <= index < classes]
        if unknown:
            raise UsageError(f"classes={unknown}: the network has the classes 0 to {classes - 1}")
        keep &= np.isin(class_id, config.classes)
    return which[keep], class_id[keep], confidence[keep]


def _best(confidence: FloatArray, count: int) -> IndexArray:
    """Positions of the `count` highest values, in input order; of equal ones the first are taken."""
    limit = np.partition(confidence, len(confidence) - count)[len(confidence) - count]
    above = np.flatnonzero(confidence > limit)
    equal = np.flatnonzero(confidence == limit)[: count - len(above)]
    return np.sort(np.concatenate([above, equal]))


def _nan(name: str) -> EdgeYoloError:
    return EdgeYoloError(
        f"raw map {name!r} holds NaN: the network's output is not usable",
        hint="Overflow in half precision or damaged weights are the usual causes: try an fp32 target, "
        "then compare with the weights themselves (edgeyolo val WEIGHTS).",
    )
