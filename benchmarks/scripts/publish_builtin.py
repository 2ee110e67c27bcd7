"""Make the model that comes with the package out of a finished training.

publish_builtin.py --data D

Takes the last stage of `benchmarks/scripts/train_recorded.py builtin` and writes
  benchmarks/weights/builtin.safetensors   training form, float16: for export and fine-tuning; in the repository only
  edgeyolo/detector/builtin/model/         the artifact that the base install runs, for cpu-onnx-fp16
  edgeyolo/detector/builtin/MODEL_CARD.md  what it is worth, as measured through that artifact on the validation images
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from result_files import RESULTS
from trainings import TRAININGS

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.cli.console import note, progress, steps
from edgeyolo.datasets import load_dataset
from edgeyolo.detector import builtin
from edgeyolo.evaluation.result import ValidationResult
from edgeyolo.evaluation.validate import open_to_judge, validate
from edgeyolo.export import ExportOptions, export
from edgeyolo.models import weights
from edgeyolo.support.files import atomic_file
from edgeyolo.training.loop.trainer import LAST

TARGET = "cpu-onnx-fp16"
LARGEST = 14_000_000  # bytes that the artifact may add to the wheel
ROOT = Path(__file__).parents[2]

CARD = """# The built-in model

A yolov7-tiny-silu that finds twenty kinds of everyday objects: {classes}.

| measured on | images | AP | AP50 | input |
| --- | --- | --- | --- | --- |
| PASCAL VOC 2007, {images} images of trainval held out | {images} | {AP:.4f} | {AP50:.4f} | {size} x {size} |

At the default confidence, 0.25, it finds {found} of the {objects} objects in these images (IoU 0.5, right class), and
{wrong} of its {detections} detections are of nothing or of another class.

`edgeyolo val builtin` through the artifact that is shipped ({megabytes:.1f} MB): {protocol}.

| class | objects | AP | AP50 |
| --- | --- | --- | --- |
{rows}

## How it came about

Trained from scratch, from random weights, by this project's own code on the other {learned} images of PASCAL VOC 2007
trainval, scaled to a long side of 384 pixels: {passes} picture passes in {hours:.1f} hours on {device}, {threads}
thread(s).{remark}
Stages, every hyperparameter and the curve: `benchmarks/results/train-builtin.md` and `.json`. The seed is
{seed}; `make train-builtin DATA=...` trains anew by the same stages and seed, in bf16 where the processor has it,
else in fp32: other rounding gives other weights.

## Licence and data

The weights are Apache-2.0, like the code. They were trained on the photographs of PASCAL VOC 2007, which are Flickr
users' under their own terms; no photograph is shipped, here or in the package.

## What it is for

Trying edgeyolo without a download, examples, tests of an installation, a start for fine-tuning
(`edgeyolo train benchmarks/weights/builtin.safetensors --data ...`). It is a small network trained on few pictures with
little computation: it misses objects, small and hidden ones above all, and takes some for others. It is no measure of
what these networks reach when they are trained for long on much data. Do not use it where a missed or a false
detection harms anybody, nor to identify or judge people; its pictures show the world as Flickr saw it in 2007.

SHA-256 of the weights: `{sha256}`; of the artifact: `{artifact}`.
"""


def publish(trained: Path, size: int) -> Artifact:
    """Weights and artifact in their places."""
    stored = ROOT / "benchmarks/weights/builtin.safetensors"
    loaded = weights.load(trained)
    recorded = ("training", "epoch")
    facts = {key: value for key, value in loaded.provenance.items() if key in recorded}
    facts["training"] = {**facts["training"], "data": "PASCAL VOC 2007 trainval"}
    facts["float32_sha256"] = loaded.sha256
    weights.save(stored, loaded.network, loaded.class_names, facts, half=True)
    with steps() as step:
        artifact = export(
            stored,
            TARGET,
            builtin.artifact_path(),
            ExportOptions(size=(size, size), overwrite=True),
            step=step,
        )
    whole = sum(path.stat().st_size for path in artifact.path.iterdir())
    if whole > LARGEST:
        shutil.rmtree(artifact.path)
        raise SystemExit(f"the artifact has {whole} bytes; the wheel has room for {LARGEST}")
    return artifact


def describe(artifact: Artifact, result: ValidationResult, facts: dict[str, Any], learned: int) -> str:
    """The model card."""
    rows = [
        f"| {each.name} | {each.instances} | {each.ap or 0:.4f} | {each.ap50 or 0:.4f} |"
        for each in result.per_class
    ]
    counts = result.confusion.counts
    found, detections = int(counts.diagonal()[:-1].sum()), int(counts[:, :-1].sum())
    return CARD.format(
        found=found,
        objects=int(counts[:-1].sum()),
        wrong=detections - found,
        detections=detections,
        classes=", ".join(artifact.manifest.class_names),
        images=result.protocol.images,
        AP=result.metrics["AP"],
        AP50=result.metrics["AP50"],
        size=artifact.manifest.input.size[0],
        megabytes=artifact.size / 1e6,
        protocol=result.protocol.sentence(),
        rows="\n".join(rows),
        learned=learned,
        passes=sum(stage["passes"] for stage in facts["stages"]),
        hours=facts["seconds"] / 3600,
        device=facts["device"]["model"],
        threads=facts["threads"],
        remark=f" {facts['remark']}".rstrip(),
        seed=facts["stages"][0]["config"]["seed"],
        sha256=weights.read_info(ROOT / "benchmarks/weights/builtin.safetensors").sha256,
        artifact=artifact.sha256,
    )


def main() -> None:
    """Publish from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="PASCAL VOC 2007, as for the training")
    parser.add_argument("--runs", type=Path, default=Path("runs/builtin"))
    options = parser.parse_args()
    training = TRAININGS["builtin"]
    facts = json.loads((RESULTS / "train-builtin.json").read_text(encoding="utf-8"))
    learned = load_dataset(options.data, training.learned)
    judged = load_dataset(options.data, training.judged, class_names=learned.class_names)
    artifact = publish(options.runs / training.stages[-1].name / LAST, training.size)
    with open_to_judge(artifact) as (pipeline, _), progress("judging the artifact") as advance:
        result = validate(pipeline, judged, artifact=artifact, progress=advance)
    card = describe(artifact, result, facts, len(learned))
    with atomic_file(builtin.artifact_path().parent / "MODEL_CARD.md") as draft:
        draft.write_text(card, encoding="utf-8")
    note(f"AP {result.metrics['AP']:.4f}, AP50 {result.metrics['AP50']:.4f}; written to {artifact.path}")


if __name__ == "__main__":
    main()
