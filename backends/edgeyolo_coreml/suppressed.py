"""Outputs of a package with suppression as the arrays of its contract.

Core ML's own suppression model is repeated here in numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import GraphDetections, OutputContract
from edgeyolo.runtime.nms import nms

SUPPRESSED = ("confidence", "coordinates")
"""The outputs' names in the file, which Vision looks for; see `detector`."""

Arrays = Mapping[str, NDArray[np.float32]]


def names_in_file(output: OutputContract) -> tuple[str, ...]:
    """The outputs a package must have to keep the contract."""
    return SUPPRESSED if isinstance(output, GraphDetections) else output.names


def contracted(
    found: Sequence[Arrays], output: OutputContract, size: tuple[int, int]
) -> dict[str, NDArray[np.float32]]:
    """Outputs of the file for one image each -> the arrays of the contract.

    They are new memory.

    `size` is (height, width) of the network's input, in whose pixels boxes are given.
    """
    if not isinstance(output, GraphDetections):
        return {
            name: np.concatenate([np.asarray(each[name], np.float32) for each in found])
            for name in output.names
        }
    arrays = {
        name: np.zeros(shape, np.float32)
        for name, shape in zip(output.names, output.shapes(len(found), size), strict=True)
    }
    count, boxes, scores, labels = arrays.values()
    for row, each in enumerate(found):
        confidence = np.asarray(each["confidence"], np.float32).reshape(-1, output.classes)
        best = confidence.max(axis=1)
        order = np.argsort(-best, kind="stable")[: output.max_det]
        used = len(order)
        count[row] = used
        boxes[row, :used] = corners(np.asarray(each["coordinates"], np.float32).reshape(-1, 4)[order], size)
        scores[row, :used] = best[order]
        labels[row, :used] = confidence[order].argmax(axis=1)
    return arrays


def corners(coordinates: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(n, 4) centre and size in 0..1 -> corners x1, y1, x2, y2 in pixels.

    The input is (height, width).
    """
    scaled = coordinates * np.array([size[1], size[0]] * 2, np.float32)
    half = scaled[:, 2:] * np.float32(0.5)
    return np.concatenate([scaled[:, :2] - half, scaled[:, :2] + half], axis=1)


def suppress(model: Any, found: Arrays) -> dict[str, NDArray[np.float32]]:
    """Outputs of a pipeline's suppression model.

    It is a protobuf message, applied to what the network before it gives.

    NonMaximumSuppression.proto: boxes up to the threshold go, then the best of each label suppress; without `perClass`,
    of all labels.
    """
    rule = model.nonMaximumSuppression
    confidence, coordinates = (
        found[name] for name in (rule.confidenceInputFeatureName, rule.coordinatesInputFeatureName)
    )
    likely = np.flatnonzero(confidence.max(axis=1) > np.float32(rule.confidenceThreshold))
    confidence, coordinates = confidence[likely], coordinates[likely]
    labels = confidence.argmax(axis=1) if rule.pickTop.perClass else None
    most = model.description.output[0].type.multiArrayType.shapeRange.sizeRanges[0].upperBound
    boxes = corners(coordinates, (1, 1))
    kept = nms(boxes, confidence.max(axis=1), labels, rule.iouThreshold, most)
    names = rule.confidenceOutputFeatureName, rule.coordinatesOutputFeatureName
    return dict(zip(names, (confidence[kept], coordinates[kept]), strict=True))
