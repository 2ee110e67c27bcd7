"""Colour changes, which leave the objects where they are."""

from __future__ import annotations

import cv2
import numpy as np

from edgeyolo.training.augment.picture import Pixels


def change_hsv(
    image: Pixels, hue: float, saturation: float, value: float, rng: np.random.Generator
) -> Pixels:
    """Multiply hue, saturation and value by random factors from 1 - x to 1 + x each; BGR in, BGR out."""
    factors = 1 + rng.uniform(-1, 1, 3) * [hue, saturation, value]
    levels = np.arange(256, dtype=np.float64)
    tables = np.stack([(levels * factors[0]) % 180, *np.clip(levels * factors[1:, None], 0, 255)], 1)
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    cv2.LUT(hsv, tables.astype(np.uint8)[None], dst=hsv)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), np.uint8)
