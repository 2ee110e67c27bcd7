"""Session outputs to boxes in pixels of the original images.

The one place for every backend.

Raw head maps are decoded and suppressed here (`edgeyolo.runtime.decode`, `edgeyolo.runtime.nms`); what a graph
has suppressed itself is read, and its thresholds may be tightened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import DecodedBoxes, GraphDetections, OutputContract, RankedBoxes, RawMaps
from edgeyolo.errors import EdgeYoloError
from edgeyolo.runtime.decode import (
    Boxes,
    best_candidates,
    decode,
    decode_ranked,
    logit_floor,
    passing,
    read_decoded,
    read_ranked,
    sigmoid,
)
from edgeyolo.runtime.nms import nms
from edgeyolo.runtime.postprocess_config import (
    DISPLAY,
    EVALUATION,
    TRACKING,
    PostprocessConfig,
    require_possible,
)
from edgeyolo.runtime.preprocess import Letterbox

__all__ = [
    "DISPLAY",
    "EVALUATION",
    "TRACKING",
    "Boxes",
    "PostprocessConfig",
    "decode",
    "in_input",
    "logit_floor",
    "postprocess",
    "sigmoid",
    "suppress",
]


def postprocess(
    outputs: Mapping[str, NDArray[Any]],
    output: OutputContract,
    letterboxes: Sequence[Letterbox],
    config: PostprocessConfig = DISPLAY,
) -> list[Boxes]:
    """Detections of every image of a batch, highest confidence first.

    Boxes are in pixels of the original images.

    Args:
        outputs: what the session gave, by name, shaped as `output` says, for at least as many images as there are
            letterboxes.
        output: what it means.
        letterboxes: where each image lies in the network's input; rows of the batch beyond them are not
            looked at.
        config: thresholds.

    Raises:
        EdgeYoloError: an output is missing or of another shape, or holds NaN where it was read.
        UsageError: `config.classes` names a class that the network does not have; thresholds that a graph which
            suppresses cannot follow.
    """
    found = []
    for best, box in zip(in_input(outputs, output, letterboxes, config), letterboxes, strict=True):
        original = Boxes(box.to_original(best.xyxy), best.confidence, best.class_id)
        # A box that lay wholly in the padding is a line or a point after clipping: nothing to show or to
        # grip.
        solid = np.all(original.xyxy[:, 2:] > original.xyxy[:, :2], axis=1)
        found.append(original if solid.all() else original[solid])
    return found


def in_input(
    outputs: Mapping[str, NDArray[Any]],
    output: OutputContract,
    letterboxes: Sequence[Letterbox],
    config: PostprocessConfig = DISPLAY,
) -> Iterator[Boxes]:
    """Detections of `postprocess` in pixels of the network's input.

    They are not clipped.
    """
    arrays = _in_order(outputs, output, letterboxes)
    require_possible(config, output)
    for index in range(len(letterboxes)):
        rows = [array[index] for array in arrays]
        if isinstance(output, GraphDetections):
            yield _read(rows, output, config)
        elif isinstance(output, DecodedBoxes):
            yield suppress(read_decoded(rows[0], output, config), config)
        elif isinstance(output, RankedBoxes):
            yield read_ranked(rows[0], output, config)
        else:
            yield _suppress_ranked(decode_ranked(rows, output, config), config)


def suppress(boxes: Boxes, config: PostprocessConfig = DISPLAY) -> Boxes:
    """Non-maximum suppression of the best `max_candidates` of `boxes`.

    Gives at most `max_det`, best first.
    """
    if len(boxes) > config.max_candidates:
        boxes = boxes[best_candidates(boxes.confidence, config.max_candidates)]
    classes = None if config.agnostic else boxes.class_id
    return boxes[nms(boxes.xyxy, boxes.confidence, classes, config.iou, config.max_det)]


def _suppress_ranked(portions: Iterator[Boxes], config: PostprocessConfig) -> Boxes:
    """`suppress` of boxes in portions, each below the one before in confidence.

    No more portions are asked for than it takes to find `max_det` boxes.
    """
    kept = suppress(next(portions), config)
    for boxes in portions:
        if len(kept) == config.max_det:
            break
        classes = None if config.agnostic else boxes.class_id
        more = nms(
            boxes.xyxy, boxes.confidence, classes, config.iou, config.max_det - len(kept),
            kept=(kept.xyxy, kept.class_id),
        )  # fmt: skip
        kept = kept.followed_by(boxes[more])
    return kept


def _in_order(
    outputs: Mapping[str, NDArray[Any]], output: OutputContract, letterboxes: Sequence[Letterbox]
) -> list[NDArray[Any]]:
    """Outputs in the contract's order, their shapes checked.

    They are checked against the letterboxes.
    """
    if missing := [name for name in output.names if name not in outputs]:
        raise EdgeYoloError(f"the network gave {sorted(outputs)}, the output contract expects also {missing}")
    arrays = [np.asarray(outputs[name]) for name in output.names]
    if letterboxes:
        shapes = output.shapes(len(letterboxes), letterboxes[0].size)
        what = "raw map" if isinstance(output, RawMaps) else "output"
        for name, array, expected in zip(output.names, arrays, shapes, strict=True):
            if array.shape[1:] != expected[1:] or len(array) < expected[0]:
                raise EdgeYoloError(f"{what} {name!r}: expected the shape {expected}, got {array.shape}")
    return arrays


def _read(rows: Sequence[NDArray[Any]], output: GraphDetections, config: PostprocessConfig) -> Boxes:
    """One image's detections from the arrays of a graph that suppresses.

    The arrays are in the order of the contract's names.
    """
    count, xyxy, scores, labels = rows
    if not 0 <= count[0] <= output.max_det:
        raise EdgeYoloError(f"the graph counts {count[0]} detections, 0 to {output.max_det} are possible")
    used = int(count[0])
    confidence, class_id = scores[:used].astype(np.float32), labels[:used].astype(np.int64)
    if not np.isfinite(confidence).all() or not np.isfinite(xyxy[:used]).all():
        raise EdgeYoloError(
            "the graph gives detections that are no numbers: the network's output is not usable"
        )
    kept = np.flatnonzero(passing(class_id, confidence, output.classes, config))[: config.max_det]
    return Boxes(xyxy[kept].astype(np.float32), confidence[kept], class_id[kept])
