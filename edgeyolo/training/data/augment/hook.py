"""Albumentations, if somebody wants it: any of its pipelines as one more step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeyolo.errors import RuntimeMissingError, UsageError
from edgeyolo.support.reading import read_yaml
from edgeyolo.support.usage_reports import send_none
from edgeyolo.training.data.augment.picture import Picture

_PARAMETERS = 'BboxParams(format="pascal_voc", label_fields=["class_id"])'


def load_albumentations(path: str | Path) -> Callable[[Picture, np.random.Generator], Picture]:
    """Augmentation hook from a pipeline in a JSON or YAML file.

    `albumentations.save` writes such files.

    Raises RuntimeMissingError where albumentations is not installed; UsageError where the file is no such
    pipeline, or one that does not take boxes as `albumentations_hook` gives them.
    """
    send_none("albumentations")
    try:
        import albumentations
    except ImportError as error:
        raise RuntimeMissingError(
            f"{path}: albumentations is not installed", hint="pip install albumentations"
        ) from error
    form = "yaml" if Path(path).suffix.lower() in (".yaml", ".yml") else "json"
    if form == "yaml":
        read_yaml(path, error=UsageError)  # refuses what albumentations' own loader would hang on
    try:
        transform = albumentations.load(str(path), data_format=form)
    except Exception as error:  # whatever a transform of any version finds wrong with its arguments
        raise UsageError(
            f"{path}: not a pipeline that albumentations {albumentations.__version__} reads ({error})",
            hint="Write it with albumentations.save(pipeline, file).",
        ) from error
    boxes = getattr(transform, "processors", {}).get("bboxes")
    if boxes is None or boxes.params.format != "pascal_voc" or boxes.params.label_fields != ["class_id"]:
        raise UsageError(
            f"{path}: its boxes would not follow the picture", hint=f"Make the Compose with {_PARAMETERS}."
        )
    return albumentations_hook(transform)


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
