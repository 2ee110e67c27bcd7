"""Pictures made from a seed, for the parity check and the golden vectors where no photograph is given."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def scene(seed: int, size: tuple[int, int] = (480, 640)) -> NDArray[np.uint8]:
    """A picture (height, width, 3), BGR uint8: shaded background, filled shapes, texture and sensor noise.

    It has the contrasts and edges of a photograph, so activations take realistic ranges; flat or random pixels do not.
    """
    height, width = size
    rng = np.random.default_rng(seed)
    corners = rng.uniform(30, 225, (2, 2, 3)).astype(np.float32)
    picture = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    for _ in range(14):
        color = rng.uniform(0, 255, 3).tolist()
        center = (int(rng.integers(width)), int(rng.integers(height)))
        radius = int(rng.integers(8, max(9, min(size) // 4)))
        if rng.random() < 0.5:
            cv2.circle(picture, center, radius, color, -1, cv2.LINE_AA)
        else:
            angle, axes = float(rng.uniform(0, 180)), (radius, max(4, radius // 2))
            box = cv2.boxPoints((center, (2.0 * axes[0], 2.0 * axes[1]), angle)).astype(np.int32)
            cv2.fillPoly(picture, [box], color, cv2.LINE_AA)
    picture = cv2.GaussianBlur(picture, (0, 0), 0.8)
    grain = rng.normal(0.0, 4.0, (height, width, 1)).astype(np.float32)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)
