"""Boxes and labels on a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GOLDEN_ANGLE = 0.618033988749895  # successive hues are as far apart as any number of them can be


def class_color(class_id: int) -> tuple[int, int, int]:
    """A class's saturated BGR colour, unlike that of its neighbours.

    It is always the same for a class.
    """
    hue = (0.01 + class_id * _GOLDEN_ANGLE) % 1.0
    value = (1.0, 0.82, 0.92)[class_id % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.78, value)
    return round(blue * 255), round(green * 255), round(red * 255)


class Drawable(Protocol):
    """A box with its class, such as `Detection`: `box` is (x1, y1, x2, y2) in pixels."""

    @property
    def box(self) -> tuple[float, float, float, float]: ...
    @property
    def class_id(self) -> int: ...
    @property
    def confidence(self) -> float: ...
    @property
    def name(self) -> str: ...


def draw_detections(image: NDArray[np.uint8], detections: Iterable[Drawable]) -> NDArray[np.uint8]:
    """A copy of the image with a box and a label for every detection.

    `image` is (height, width, 3) BGR uint8.

    Line and letter size follow the image's size. The most confident boxes are drawn last and lie on top.
    Characters outside ASCII depend on OpenCV's font (complete from OpenCV 5).
    """
    canvas = image.copy()
    thickness = max(round((image.shape[0] + image.shape[1]) / 2 * 0.003), 1)
    for detection in reversed(list(detections)):
        _draw_box(canvas, detection, thickness)
    for detection in reversed(list(detections)):
        _draw_label(canvas, detection, thickness)
    return canvas


def _draw_box(canvas: NDArray[np.uint8], detection: Drawable, thickness: int) -> None:
    x1, y1, x2, y2 = (round(value) for value in detection.box)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), class_color(detection.class_id), thickness)


def _draw_label(canvas: NDArray[np.uint8], detection: Drawable, thickness: int) -> None:
    text = f"{detection.name} {detection.confidence:.2f}"
    scale, weight = max(thickness / 4, 0.4), max(thickness // 2, 1)
    (width, height), base = cv2.getTextSize(text, _FONT, scale, weight)
    margin = max(thickness, 2)
    box_width, box_height = width + 2 * margin, height + base + margin
    # Above the box where there is room, else inside it; never past the picture's edges.
    left = min(max(round(detection.box[0]) - thickness // 2, 0), max(canvas.shape[1] - box_width, 0))
    top = round(detection.box[1]) - box_height
    if top < 0:
        top = min(max(round(detection.box[1]), 0), max(canvas.shape[0] - box_height, 0))
    color = class_color(detection.class_id)
    cv2.rectangle(canvas, (left, top), (left + box_width, top + box_height), color, -1)
    origin = (left + margin, top + margin // 2 + height)
    cv2.putText(canvas, text, origin, _FONT, scale, _ink(color), weight, cv2.LINE_AA)


def _ink(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, the one that stands out from `color`.

    `color` is BGR; luma weights of ITU-R BT.601.
    """
    blue, green, red = color
    return (0, 0, 0) if 0.114 * blue + 0.587 * green + 0.299 * red > 140 else (255, 255, 255)
