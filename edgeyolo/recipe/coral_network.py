"""Integer maps of a network on the edge TPU to the rows that Frigate reads.

Recipes carry a copy of this file with Frigate's classes behind it, as a detector of Frigate's. It needs numpy only, and
Frigate's interpreter.

Frigate suppresses across classes itself, so only the best boxes are handed over; coordinates are parts of the input.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

ROWS, LEAST, OVERLAP = 20, 0.4, 0.45  # Frigate looks at 20 rows above 0.4
Array = np.ndarray[Any, Any]


class CoralNetwork:
    """A network of raw int8 maps in an interpreter of TensorFlow Lite."""

    def __init__(self, interpreter: Any, manifest: Path) -> None:
        """Take a loaded interpreter and the artifact's manifest.json."""
        said = json.loads(manifest.read_text(encoding="utf-8"))
        self.output, scale = said["output"], said["input"]["quantization"]
        steps = np.rint(np.arange(256) * said["input"]["scale"] / scale["scale"]) + scale["zero_point"]
        self.table = np.clip(steps, -128, 127).astype(np.int8)  # a pixel's integer
        self.sides = np.array([said["input"]["width"], said["input"]["height"]] * 2, np.float32)
        interpreter.allocate_tensors()
        self.interpreter = interpreter
        self.entry = interpreter.get_input_details()[0]["index"]
        indices = {item["name"]: item["index"] for item in interpreter.get_output_details()}
        self.maps = [indices[name] for name in self.output["names"]]

    def __call__(self, picture: Array) -> Array:
        """(1, height, width, 3) uint8 RGB -> (20, 6) float32.

        A row is class, score, top, left, bottom, right; the sides are parts of the input's, 0..1.
        """
        self.interpreter.set_tensor(self.entry, self.table[picture])
        self.interpreter.invoke()
        found = [
            self._level(number, self.interpreter.get_tensor(index)[0])
            for number, index in enumerate(self.maps)
        ]
        boxes, scores, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
        rows = np.zeros((ROWS, 6), np.float32)
        kept: list[int] = []
        for each in np.argsort(-scores, kind="stable"):
            if len(kept) == ROWS:
                break
            same = [other for other in kept if labels[other] == labels[each]]
            if not same or (_iou(boxes[each], boxes[same]) <= OVERLAP).all():
                rows[len(kept)] = (
                    labels[each],
                    scores[each],
                    *(boxes[each] / self.sides)[[1, 0, 3, 2]].clip(0, 1),
                )
                kept.append(int(each))
        return rows

    def _level(self, number: int, values: Array) -> tuple[Array, Array, Array]:
        """Boxes, scores and classes of one map (rows, columns, channels).

        Boxes are (n, 4) corners in pixels of the input.
        """
        anchors, stride = np.array(self.output["anchors"][number], np.float32), self.output["strides"][number]
        scale = self.output["quantization"][number]
        rows, columns, _ = values.shape
        cells = values.reshape(rows * columns, len(anchors), -1)
        floor = np.log(LEAST / (1 - LEAST)) / scale["scale"] + scale["zero_point"]
        cell, anchor = np.nonzero(cells[..., 4] > floor)  # most cells are background
        logits = (cells[cell, anchor].astype(np.float32) - scale["zero_point"]) * np.float32(scale["scale"])
        logits[:, :4] /= self.output.get("box_gain", 1)
        values = 1 / (1 + np.exp(-logits))
        classes = values[:, 5:] if self.output["classes"] > 1 else np.ones((len(values), 1), np.float32)
        scores = values[:, 4] * classes.max(axis=1)
        corner = np.stack([cell % columns, cell // columns], axis=1)
        centre, half = (
            (2 * values[:, :2] - 0.5 + corner) * stride,
            (2 * values[:, 2:4]) ** 2 * anchors[anchor] / 2,
        )
        keep = scores > LEAST
        boxes = np.concatenate([centre - half, centre + half], axis=1)
        return boxes[keep], scores[keep], classes.argmax(axis=1)[keep]


def _iou(box: Array, others: Array) -> Array:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    both = sides.clip(0).prod(axis=1)
    areas = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1)
    result: Array = both / (areas - both)
    return result
