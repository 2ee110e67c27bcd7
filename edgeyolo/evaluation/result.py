"""Result of `validate`.

The numbers, how they were measured, and the detections they come from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgeyolo.datasets import Dataset, Problem
from edgeyolo.evaluation.ap import ApResult, ClassAp
from edgeyolo.evaluation.curves import Confusion, Curves, count_confusion, measure_curves
from edgeyolo.evaluation.plots import write_plots
from edgeyolo.evaluation.predictions import Predictions, write_predictions
from edgeyolo.support.files import atomic_file
from edgeyolo.support.reading import readable


@dataclass(frozen=True)
class EvaluationProtocol:
    """Conditions under which an AP was measured.

    Without them it cannot be compared. `size` is (height, width) in pixels.

    `shape` is "square" (every image letterboxed to `size`) or "rectangular" (batches of similar aspect ratio
    whose long side is about `size`). `target` and `artifact` (a SHA-256) are empty for a network that is no
    artifact.
    """

    data: str
    images: int
    instances: int
    shape: str
    size: tuple[int, int]
    batch: int
    conf: float
    iou: float
    max_det: int
    multi_label: bool
    evaluator: str
    model: str = ""
    target: str = ""
    artifact: str = ""

    def sentence(self) -> str:
        """All of it in one line."""
        labels = "several classes a box" if self.multi_label else "one class a box"
        what = " ".join(part for part in (self.model, self.target, self.artifact[:12]) if part)
        return (
            f"{self.data}: {self.images} images, {self.instances} objects; {self.shape} {self.size[1]} x "
            f"{self.size[0]}, batch {self.batch}; confidence {self.conf:g}, IoU {self.iou:g}, at most "
            f"{self.max_det} detections an image, {labels}; {self.evaluator}" + (f"; {what}" if what else "")
        )


@dataclass(frozen=True)
class StageTime:
    """Milliseconds per image of one stage."""

    mean: float
    median: float


@dataclass(frozen=True, eq=False)
class ValidationResult:
    """Result of a validation.

    `metrics` are the twelve COCO numbers as fractions of 1, None where the data cannot give one.

    `speed` holds the stages decode, preprocess, inference and postprocess. Decoding runs beside the others,
    so these times are for orientation; a benchmark measures each stage alone. `data` is the data set as
    judged: with the model's classes, without the images in `problems`.
    """

    ap: ApResult
    speed: Mapping[str, StageTime]
    protocol: EvaluationProtocol
    data: Dataset
    predictions: Predictions
    problems: tuple[Problem, ...] = ()

    @property
    def metrics(self) -> Mapping[str, float | None]:
        """The twelve COCO numbers by name."""
        return self.ap.metrics

    @property
    def per_class(self) -> tuple[ClassAp, ...]:
        """AP and counts of every class of the model."""
        return self.ap.per_class

    @cached_property
    def curves(self) -> Curves:
        """Precision, recall and F1 at IoU 0.5."""
        return measure_curves(self.data, self.predictions)

    @cached_property
    def confusion(self) -> Confusion:
        """The confusion matrix at confidence 0.25 and IoU 0.5."""
        return count_confusion(self.data, self.predictions)

    def to_json(self) -> dict[str, Any]:
        """JSON values of the result.

        The twelve numbers at the top, then classes, best F1, speed, protocol and problems.
        """
        return {
            **self.ap.to_json(),
            "best_f1": {"f1": self.curves.best_f1, "confidence": self.curves.best_confidence},
            "speed_ms": {name: asdict(stage) for name, stage in self.speed.items()},
            "protocol": asdict(self.protocol),
            "problems": [str(problem) for problem in self.problems],
        }

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write results.json, confusion.json, predictions.json and the plots.

        predictions.json is COCO's result form.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        names = [*self.data.class_names, "background"]
        confusion = {
            "rows": "true",
            "columns": "detected",
            "names": names,
            "counts": self.confusion.counts.tolist(),
        }
        for name, content in (("results.json", self.to_json()), ("confusion.json", confusion)):
            with atomic_file(folder / name) as draft:
                text = readable(
                    json.dumps(content, indent=2, ensure_ascii=False)
                )  # names of files may be any bytes
                draft.write_text(text + "\n", encoding="utf-8")
        write_predictions(folder / "predictions.json", self.predictions, self.data)
        plots = write_plots(folder, self.curves, self.confusion)
        return (*(folder / name for name in ("results.json", "confusion.json", "predictions.json")), *plots)


def stage_time(milliseconds: list[float]) -> StageTime:
    """Mean and median of the images' times."""
    return StageTime(float(np.mean(milliseconds)), float(np.median(milliseconds)))
