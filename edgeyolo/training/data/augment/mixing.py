"""Objects of one picture in another: mixup, paste-in, copy-paste."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edgeyolo.training.data.augment.geometry import flip_left_right, shifted
from edgeyolo.training.data.augment.picture import Boxes, Picture, join

MAX_COVERED = 0.3  # share of an object that a pasted one may hide


def mixup(one: Picture, other: Picture, alpha: float, rng: np.random.Generator) -> Picture:
    """Blend two pictures of one size, weights from Beta(alpha, alpha).

    The objects of both remain.
    """
    weight = float(rng.beta(alpha, alpha))
    image = cv2.addWeighted(one.image, weight, other.image, 1 - weight, 0)
    return join(np.asarray(image, np.uint8), [one, other])


def paste_in(picture: Picture, donors: Sequence[Picture], limit: int, rng: np.random.Generator) -> Picture:
    """Paste up to `limit` objects of `donors` at random places where they hide little.

    An object is cut out along its outline, or as its box where it has none.
    """
    pool = [(donor, i) for donor in donors for i in range(len(donor))]
    chosen = rng.permutation(len(pool))[: int(rng.integers(limit + 1))]
    image = picture.image.copy()
    boxes, parts = picture.boxes, [picture]
    for number in chosen:
        donor, i = pool[number]
        height, width = (
            int(side) for side in np.ceil(donor.boxes[i, 3:1:-1] - np.floor(donor.boxes[i, 1::-1]))
        )
        room = np.array([image.shape[1] - width, image.shape[0] - height])
        if (room < 0).any():
            continue
        x, y = (int(value) for value in rng.integers(0, room + 1) - np.floor(donor.boxes[i, :2]))
        pasted = shifted(donor.choose(np.array([i])), x, y)
        if _hides_too_much(pasted.boxes[0], boxes):
            continue
        _copy_object(image, donor, i, x, y)
        boxes = np.concatenate([boxes, pasted.boxes])
        parts.append(pasted)
    return join(image, parts)


def copy_paste(picture: Picture, share: float, rng: np.random.Generator) -> Picture:
    """Paste mirrored copies of a `share` of the outlined objects.

    They are pasted where they hide little.
    """
    outlined = np.flatnonzero([bool(outline) for outline in picture.outlines])
    chosen = rng.permutation(outlined)[: round(share * len(outlined))]
    if not len(chosen):
        return picture
    mirrored = flip_left_right(picture)
    image = picture.image.copy()
    boxes, parts = picture.boxes, [picture]
    for i in chosen:
        if not _hides_too_much(mirrored.boxes[i], boxes):
            _copy_object(image, mirrored, int(i), 0, 0)
            boxes = np.concatenate([boxes, mirrored.boxes[i : i + 1]])
            parts.append(mirrored.choose(np.array([i])))
    return join(image, parts)


def _hides_too_much(box: Boxes, boxes: Boxes) -> bool:
    """Return True if `box` covers more of any of `boxes` than MAX_COVERED."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    covered = np.clip(high - low, 0, None).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return bool((covered > MAX_COVERED * areas).any())


def _copy_object(image: np.ndarray, donor: Picture, i: int, x: int, y: int) -> None:
    """Copy the pixels of object i of `donor`, moved by (x, y), into `image`."""
    x1, y1 = (int(value) for value in np.floor(donor.boxes[i, :2]))
    x2, y2 = (int(value) for value in np.ceil(donor.boxes[i, 2:]))
    x2, y2 = min(x2, donor.size[1]), min(y2, donor.size[0])
    mask = np.ones((y2 - y1, x2 - x1), np.uint8)
    if donor.outlines[i]:
        mask[:] = 0
        # OpenCV draws between pixel centres; coordinates count from pixel edges, in sixteenths here.
        points = [np.round((part - [x1 + 0.5, y1 + 0.5]) * 16).astype(np.int32) for part in donor.outlines[i]]
        cv2.fillPoly(mask, points, 1, shift=4)
    source = donor.image[y1:y2, x1:x2]
    target = image[y1 + y : y2 + y, x1 + x : x2 + x]
    cv2.copyTo(source, mask, target)
