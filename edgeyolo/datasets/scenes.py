"""Labelled pictures from a seed.

Endless, repeatable (pixels up to OpenCV's rounding), free of anybody's rights.

Silhouettes of seven kinds lie over textured backgrounds among unlabelled clutter, at all scales, under changing
light, occluding each other, with blur and sensor noise: hard enough that an AP well below 1 shows what quantization
costs. They stand in for photographs wherever none may be shipped: parity checks, calibration in tests, the demo.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
Picture = NDArray[np.float32]

CLASS_NAMES = ("disc", "square", "triangle", "star", "cross", "figure", "car")
_SHIFT = 4  # cv2 takes sub-pixel vertices as fixed-point numbers with this many fractional bits
_HIDDEN = 0.7  # an object of which more than this share is covered is no longer labelled


@dataclass(frozen=True)
class Scene:
    """A picture and its boxes.

    `image` (h, w, 3) uint8 BGR; `boxes` (n, 4) float32 x1, y1, x2, y2 in pixels; `class_id` (n,) int64.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    class_id: NDArray[np.int64]


def make_scene(seed: int, size: tuple[int, int] = (480, 640)) -> Scene:
    """The picture of `seed`, with the boxes of what can be seen in it.

    `size` is (height, width).
    """
    return _draw_scene(seed, size)


def _draw_scene(seed: int, size: tuple[int, int]) -> Scene:
    rng = np.random.default_rng(seed)
    picture = _background(rng, size)
    owner = np.full(size, -1, np.int32)  # which object shows at each pixel
    placed: list[tuple[int, Points, int]] = []
    for _ in range(int(rng.integers(4, 14))):
        _draw(picture, owner, -1, _clutter(rng, size), rng)
    for number in range(int(rng.integers(0, 12))):
        kind = int(rng.integers(len(CLASS_NAMES)))
        points = _place(_outline(kind), rng, size)
        placed.append((kind, points, _draw(picture, owner, number, points, rng)))
    for _ in range(int(rng.integers(0, 4))):
        _draw(picture, owner, -1, _clutter(rng, size) * 0.5, rng)
    visible = np.bincount(owner[owner >= 0], minlength=len(placed))
    kept = [
        (kind, _bounds(points, size))
        for number, (kind, points, area) in enumerate(placed)
        if area > 0 and visible[number] >= (1.0 - _HIDDEN) * area
    ]
    kept = [(kind, box) for kind, box in kept if min(box[2] - box[0], box[3] - box[1]) >= 4.0]
    boxes = np.array([box for _, box in kept], np.float32).reshape(-1, 4)
    return Scene(_photograph(picture, rng), boxes, np.array([kind for kind, _ in kept], np.int64))


def write_dataset(folder: Path, seeds: Iterable[int], size: tuple[int, int] = (480, 640)) -> Path:
    """Save scenes as PNG with COCO annotations.

    Returns the path of the json, which `edgeyolo val --data` takes.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, seed in enumerate(seeds, start=1):
        scene, name = make_scene(seed, size), f"{seed:08d}.png"
        (folder / "images" / name).write_bytes(cv2.imencode(".png", scene.image)[1].tobytes())
        images.append({"id": number, "file_name": name, "width": size[1], "height": size[0]})
        for (x1, y1, x2, y2), kind in zip(scene.boxes.tolist(), scene.class_id.tolist(), strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            facts = {"id": len(annotations) + 1, "image_id": number, "category_id": kind + 1, "iscrowd": 0}
            annotations.append(facts | {"bbox": box, "area": box[2] * box[3]})
    categories = [{"id": kind + 1, "name": name} for kind, name in enumerate(CLASS_NAMES)]
    described = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "annotations.json"
    path.write_text(json.dumps(described))
    return path


def _background(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Colour gradients with two octaves of smooth texture."""
    height, width = size
    picture: NDArray[Any] = cv2.resize(rng.uniform(40, 215, (2, 3, 3)).astype(np.float32), (width, height))
    for cells, strength in ((6, 30.0), (40, 14.0)):
        texture = rng.normal(0.0, strength, (cells, cells, 1)).astype(np.float32)
        picture = picture + cv2.resize(texture, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    return np.ascontiguousarray(picture)


def _outline(kind: int) -> Points:
    """The silhouette of a class, in a box of about -1..1."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    star = np.linspace(0, 2 * np.pi, 10, endpoint=False) - np.pi / 2
    radius = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
    mirrored = [(0.12, -0.62), (0.42, -0.5), (0.5, 0.12), (0.3, 0.12), (0.26, 1.0), (0.06, 1.0), (0.0, 0.3)]
    head = [(np.sin(t) * 0.24, -0.8 - np.cos(t) * 0.2) for t in np.linspace(-2.6, 2.6, 12)]
    outlines = (
        [(np.cos(t), np.sin(t)) for t in turn],
        [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
        [(0.0, -1.0), (0.95, 0.8), (-0.95, 0.8)],
        [(r * np.cos(t), r * np.sin(t)) for r, t in zip(radius, star, strict=True)],
        [(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3), (0.3, 1), (-0.3, 1), (-0.3, 0.3),
         (-1, 0.3), (-1, -0.3), (-0.3, -0.3)],
        [*head, *mirrored, *[(-x, y) for x, y in reversed(mirrored[:-1])]],
        [(-1, 0.1), (-0.62, 0.02), (-0.42, -0.4), (0.32, -0.4), (0.6, 0.0), (1, 0.08), (1, 0.36), (0.76, 0.36),
         (0.66, 0.52), (0.48, 0.52), (0.38, 0.36), (-0.38, 0.36), (-0.48, 0.52), (-0.66, 0.52), (-0.76, 0.36),
         (-1, 0.36)],
    )  # fmt: skip
    return np.array(outlines[kind], np.float32)


def _place(points: Points, rng: np.random.Generator, size: tuple[int, int]) -> Points:
    """Turn, stretch and move an outline to its place in the picture, in pixels."""
    angle = rng.normal(0.0, 0.25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.array([np.exp(rng.normal(0, 0.15)), np.exp(rng.normal(0, 0.15))])
    radius = min(size) * np.exp(rng.uniform(np.log(0.02), np.log(0.26)))
    center = rng.uniform(0.03, 0.97, 2) * (size[1], size[0])
    return np.asarray((points * stretch) @ turn.T * radius + center, np.float32)


def _clutter(rng: np.random.Generator, size: tuple[int, int]) -> Points:
    """An irregular blob or a bar, which no class resembles."""
    if rng.random() < 0.4:
        bar = np.array([(-1, -0.08), (1, -0.08), (1, 0.08), (-1, 0.08)]) * rng.uniform(20, max(size) / 2)
        angle = rng.uniform(0, np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.asarray(bar @ turn.T + rng.uniform(0, 1, 2) * (size[1], size[0]), np.float32)
    turns = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(5, 9))))
    reach = rng.uniform(0.3, 1.0, turns.size) * rng.uniform(8, min(size) / 5)
    blob = np.stack([np.cos(turns) * reach, np.sin(turns) * reach], axis=1)
    return np.asarray(blob + rng.uniform(0, 1, 2) * (size[1], size[0]), np.float32)


def _draw(
    picture: Picture, owner: NDArray[np.int32], number: int, points: Points, rng: np.random.Generator
) -> int:
    """Fill an outline with a shaded colour and return its number of pixels.

    It notes whose pixels they are.
    """
    mask = np.zeros(owner.shape, np.uint8)
    vertices = np.rint(points * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(mask, [vertices], 255, cv2.LINE_AA, _SHIFT)
    x, y, w, h = cv2.boundingRect(mask)
    if w == 0 or h == 0:
        return 0
    patch = (slice(y, y + h), slice(x, x + w))
    shade = cv2.resize(rng.uniform(0.65, 1.3, (2, 2, 1)).astype(np.float32), (w, h))[..., None]
    fill = rng.uniform(10, 245, 3).astype(np.float32) * shade
    opacity = mask[patch][..., None].astype(np.float32) / 255.0 * np.float32(rng.uniform(0.75, 1.0))
    picture[patch] += (fill - picture[patch]) * opacity
    covered = mask[patch] >= 128
    owner[patch][covered] = number
    return int(covered.sum())


def _bounds(points: Points, size: tuple[int, int]) -> Points:
    """The box of an outline, cut off at the picture's edges."""
    # OpenCV draws with pixel centres at whole numbers; in boxes, pixel i reaches from i to i + 1.
    low, high = points.min(axis=0) + 0.5, points.max(axis=0) + 0.5
    limit = np.array([size[1], size[0]], np.float32)
    return np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)])


def _photograph(picture: Picture, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Light, lens and sensor: a brightness gradient, blur and noise."""
    light = rng.uniform(0.55, 1.25, (2, 2, 1)).astype(np.float32)
    lit = picture * cv2.resize(light, picture.shape[1::-1])[..., None]
    seen: NDArray[Any] = cv2.GaussianBlur(lit, (0, 0), float(rng.uniform(0.4, 1.6)))
    noise = rng.normal(0.0, float(rng.uniform(2.0, 9.0)), seen.shape).astype(np.float32)
    return (seen + noise).clip(0, 255).astype(np.uint8)
