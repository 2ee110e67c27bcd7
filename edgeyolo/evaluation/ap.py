"""Average precision as COCO defines it.

101 recall points, IoU 0.50:0.05:0.95, at most 100 detections per image.

faster-coco-eval does the matching, or pycocotools, whose numbers are the same. The summary is computed here
from their precision and recall arrays, the same way for both.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeyolo.datasets import Dataset
from edgeyolo.errors import RuntimeMissingError, UsageError
from edgeyolo.evaluation.predictions import Predictions
from edgeyolo.support.install import install_hint

METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
Evaluator = Literal["auto", "faster-coco-eval", "pycocotools"]
EVALUATORS: tuple[Evaluator, ...] = ("faster-coco-eval", "pycocotools")

_ALL, _SMALL, _MEDIUM, _LARGE = range(4)  # areas: all, below 32 x 32 pixels, up to 96 x 96, above
_AT_1, _AT_10, _AT_100 = range(3)  # detections per image and class


@dataclass(frozen=True)
class ClassAp:
    """Figures of one class as fractions of 1, None where it has no instances.

    `images` counts those that show one.
    """

    name: str
    ap: float | None
    ap50: float | None
    ap75: float | None
    ar100: float | None
    instances: int
    images: int


@dataclass(frozen=True)
class ApResult:
    """The twelve COCO numbers by name, as fractions of 1.

    Per-class figures; and which library matched the boxes.

    A number is None where the data set has no object that it could be measured on (pycocotools says -1), such
    as APs without small objects.
    """

    metrics: Mapping[str, float | None]
    per_class: tuple[ClassAp, ...]
    evaluator: str

    def to_json(self) -> dict[str, Any]:
        """The twelve numbers at the top, then `per_class` and `evaluator`."""
        classes = [
            {"name": c.name, "AP": c.ap, "AP50": c.ap50, "AP75": c.ap75, "AR100": c.ar100,
             "instances": c.instances, "images": c.images}
            for c in self.per_class
        ]  # fmt: skip
        return {**self.metrics, "per_class": classes, "evaluator": self.evaluator}


def coco_ap(dataset: Dataset, predictions: Predictions, *, evaluator: Evaluator = "auto") -> ApResult:
    """Judge `predictions` against the data set's boxes.

    Crowds neither count as objects nor make a detection on them wrong; VOC's `difficult` objects count like
    any other, as in COCO json made from VOC. Raises RuntimeMissingError where neither library is installed.
    """
    name, coco_class, eval_class = _load_evaluator(evaluator)
    # Both libraries report their progress; pycocotools does so on standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _indexed(coco_class, dataset, _ground_truth(dataset))
        detections = _indexed(coco_class, dataset, _detections(dataset, predictions))
        run = eval_class(truth, detections, iouType="bbox")
        run.evaluate()
        run.accumulate()
    # precision: IoU x recall x class x area x detections; recall: IoU x class x area x detections
    precision = np.asarray(run.eval["precision"], dtype=np.float64)
    recall = np.asarray(run.eval["recall"], dtype=np.float64)
    per_class = _per_class(dataset, precision, recall)
    return ApResult(_summarize(precision, recall), per_class, name)


def _load_evaluator(wanted: Evaluator) -> tuple[str, Any, Any]:
    if wanted not in ("auto", *EVALUATORS):
        raise UsageError(f"evaluator {wanted!r}: expected auto, {' or '.join(EVALUATORS)}")
    missing = []
    for name in EVALUATORS if wanted == "auto" else (wanted,):
        try:
            if name == "pycocotools":
                from pycocotools.coco import COCO
                from pycocotools.cocoeval import COCOeval

                return name, COCO, COCOeval
            import faster_coco_eval

            return name, faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster
        except ImportError as error:
            missing.append(f"{name} ({error})")
    raise RuntimeMissingError(
        f"computing AP needs {' or '.join(missing)}, which cannot be imported",
        hint=install_hint("eval"),
    )


def _indexed(coco_class: Any, dataset: Dataset, annotations: list[dict[str, Any]]) -> Any:
    """Table of the library, with numbers of ours for images and classes.

    A file's own ids may be text, or too large for it.
    """
    coco = coco_class()
    categories = enumerate(dataset.class_names, start=1)
    coco.dataset = {
        "images": [{"id": sample.image_id} for sample in dataset.images],
        "categories": [{"id": category, "name": name} for category, name in categories],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _ground_truth(dataset: Dataset) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    for sample in dataset.images:
        classes, boxes = sample.class_id.tolist(), sample.xywh.tolist()
        areas, crowds = sample.area.tolist(), sample.crowd.tolist()
        for class_id, bbox, area, crowd in zip(classes, boxes, areas, crowds, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": sample.image_id,
                    "category_id": class_id + 1,
                    "bbox": bbox,
                    "area": area,
                    "iscrowd": int(crowd),
                }
            )
    return annotations


def _detections(dataset: Dataset, predictions: Predictions) -> list[dict[str, Any]]:
    columns = (predictions.image_id.tolist(), predictions.class_id.tolist(), predictions.xywh.tolist())
    scored = enumerate(zip(*columns, predictions.score.tolist(), strict=True), start=1)
    return [
        {
            "id": i,
            "image_id": image,
            "category_id": class_id + 1,
            "bbox": bbox,
            "area": bbox[2] * bbox[3],
            "iscrowd": 0,
            "score": score,
        }
        for i, (image, class_id, bbox, score) in scored
    ]


def _mean(values: NDArray[np.float64]) -> float | None:
    measured = values[values > -1]
    return float(np.mean(measured)) if measured.size else None


def _summarize(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> dict[str, float | None]:
    values = (
        precision[:, :, :, _ALL, _AT_100],
        precision[0, :, :, _ALL, _AT_100],
        precision[5, :, :, _ALL, _AT_100],
        *(precision[:, :, :, area, _AT_100] for area in (_SMALL, _MEDIUM, _LARGE)),
        *(recall[:, :, _ALL, count] for count in (_AT_1, _AT_10, _AT_100)),
        *(recall[:, :, area, _AT_100] for area in (_SMALL, _MEDIUM, _LARGE)),
    )
    return dict(zip(METRIC_NAMES, map(_mean, values), strict=True))


def _per_class(
    dataset: Dataset, precision: NDArray[np.float64], recall: NDArray[np.float64]
) -> tuple[ClassAp, ...]:
    classes = len(dataset.class_names)
    objects = np.zeros(classes, dtype=np.int64)
    images = np.zeros(classes, dtype=np.int64)
    for sample in dataset.images:
        counts = np.bincount(sample.class_id[~sample.crowd], minlength=classes)
        objects += counts
        images += counts > 0
    return tuple(
        ClassAp(
            name,
            _mean(precision[:, :, k, _ALL, _AT_100]),
            _mean(precision[0, :, k, _ALL, _AT_100]),
            _mean(precision[5, :, k, _ALL, _AT_100]),
            _mean(recall[:, k, _ALL, _AT_100]),
            int(objects[k]),
            int(images[k]),
        )
        for k, name in enumerate(dataset.class_names)
    )
