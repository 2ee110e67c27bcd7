"""Albumentations, if somebody wants it: any of its pipelines as one more step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgeyolo.training.augment.picture import Picture


def albumentations_hook(transform: Any) -> Callable[[Picture, np.random.Generator], Picture]:
    """An `Augmenter.extra` out of an `albumentations.Compose`.

    The pipeline must have been made with `BboxParams(format="pascal_voc", label_fields=["class_id"])`. It
    gets its seed from the run's generator, where its version takes one, so that a run can be repeated.
    Outlines do not pass through it: afterwards objects have boxes only.
    """

    def apply(picture: Picture, rng: np.random.Generator) -> Picture:
        seed = int(rng.integers(2**31))
        if hasattr(transform, "set_random_seed"):
            transform.set_random_seed(seed)
        rgb = np.ascontiguousarray(picture.image[..., ::-1])
        result = transform(image=rgb, bboxes=picture.boxes, class_id=picture.class_id)
        boxes = np.asarray(result["bboxes"], np.float32).reshape(-1, 4)
        class_id = np.asarray(result["class_id"], np.int64).reshape(-1)
        return Picture(np.ascontiguousarray(result["image"][..., ::-1]), boxes, class_id)

    return apply
