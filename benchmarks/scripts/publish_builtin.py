"""Make the model that comes with the package out of a finished training.

publish_builtin.py --data D [--weights FILE] [--imgsz N]

Takes the last stage of `benchmarks/scripts/train_recorded.py builtin`, or FILE, and writes
  benchmarks/weights/builtin.safetensors   training form, float16: for export and fine-tuning; in the repository only
  edgeyolo/detector/builtin/model/         the artifact that the base install runs, for cpu-onnx-fp16
  edgeyolo/detector/builtin/MODEL_CARD.md  what it is worth, as measured through that artifact on the validation images

The default confidence of each class is chosen here too, and goes with weights and artifact (builtin_confidence.py).
`--weights benchmarks/weights/builtin.safetensors` makes all of it anew from the weights that are published.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from builtin_card import ROOT, Judged, describe, judge
from builtin_confidence import by_name
from result_files import RESULTS
from trainings import TRAININGS

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.class_confidence import CLASS_CONFIDENCE
from edgeyolo.cli.console import note, steps
from edgeyolo.datasets import Dataset, load_dataset
from edgeyolo.detector import builtin
from edgeyolo.evaluation.validate import open_to_judge
from edgeyolo.export import ExportOptions, export
from edgeyolo.models import weights
from edgeyolo.support.files import atomic_file
from edgeyolo.training.loop.trainer import LAST

TARGET = "cpu-onnx-fp16"
LARGEST = 14_000_000  # bytes that the artifact may add to the wheel
STORED = ROOT / "benchmarks/weights/builtin.safetensors"
DATA = "PASCAL VOC 2007 trainval"


def account(loaded: weights.Weights) -> dict[str, Any]:
    """The account that published weights give of their training.

    It tells nothing of the machine that it ran on.
    """
    told = loaded.provenance
    kept = ("config", "recipe", "network", "class_names")
    training = {key: value for key, value in told["training"].items() if key in kept}
    return {
        "epoch": told["epoch"],
        "training": {**training, "data": DATA},
        "float32_sha256": told.get("float32_sha256", loaded.sha256),
    }


def make(loaded: weights.Weights, facts: dict[str, Any], stored: Path, into: Path, size: int) -> Artifact:
    """Weights in float16 and their artifact."""
    weights.save(stored, loaded.network, loaded.class_names, facts, half=True)
    with steps() as step:
        return export(stored, TARGET, into, ExportOptions(size=(size, size), overwrite=True), step=step)


def publish(trained: Path, size: int, judged: Dataset, data: str) -> tuple[Artifact, Judged]:
    """Weights and artifact in their places.

    They have the default confidences that judging a draft of them chose.
    """
    loaded = weights.load(trained)
    facts = account(loaded)
    with tempfile.TemporaryDirectory() as folder:
        draft = make(loaded, facts, Path(folder) / STORED.name, Path(folder) / "model", size)
        whole = sum(path.stat().st_size for path in draft.path.iterdir())
        if whole > LARGEST:
            raise SystemExit(f"the artifact has {whole} bytes; the wheel has room for {LARGEST}")
        with open_to_judge(draft) as (pipeline, _):
            found = judge(pipeline, judged)
    facts[CLASS_CONFIDENCE] = by_name(found.choice, loaded.class_names)
    facts[builtin.MEASURED] = found.summary(data)
    artifact = make(loaded, facts, STORED, builtin.artifact_path(), size)
    if artifact.manifest.files["model.onnx"] != draft.manifest.files["model.onnx"]:
        shutil.rmtree(artifact.path)
        raise SystemExit("two exports of the same weights differ: what was judged is not what was made")
    return artifact, found


def read_record(trained: Path) -> dict[str, Any]:
    """The record of the training that made the weights.

    SystemExit where there is only another's.
    """
    file = RESULTS / "train-builtin.json"
    facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    info = weights.read_info(trained)
    made = info.provenance.get("float32_sha256", info.sha256)
    if facts["sha256"] != made:
        raise SystemExit(
            f"{file} is the record of other weights ({facts['sha256'][:12]}, these are {made[:12]}): the card would "
            "tell of another training. Write it first: train_recorded.py builtin --judge-only"
        )
    return facts


def main() -> None:
    """Publish from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    training = TRAININGS["builtin"]
    parser.add_argument("--data", required=True, help="PASCAL VOC 2007, as for the training")
    parser.add_argument("--runs", type=Path, default=Path("runs/builtin"))
    parser.add_argument("--weights", type=Path, help="in place of the last stage's below --runs")
    parser.add_argument("--imgsz", type=int, default=training.size, help="of the artifact")
    options = parser.parse_args()
    trained = options.weights or options.runs / training.stages[-1].name / LAST
    facts = read_record(trained)
    learned = load_dataset(options.data, training.learned)
    judged = load_dataset(options.data, training.judged, class_names=learned.class_names)
    data = f"PASCAL VOC 2007, {len(judged)} images of trainval held out"
    artifact, found = publish(trained, options.imgsz, judged, data)
    card = describe(
        artifact,
        found,
        facts,
        weights_sha256=weights.read_info(STORED).sha256,
        learned=len(learned),
        data=data,
    )
    with atomic_file(builtin.artifact_path().parent / "MODEL_CARD.md") as draft:
        draft.write_text(card, encoding="utf-8")
    worth, metrics = found.choice.held_out, found.result.metrics
    note(
        f"AP {metrics['AP']:.4f}, AP50 {metrics['AP50']:.4f}; by default {worth.precision:.0%} right, "
        f"{worth.recall:.0%} found; written to {artifact.path}"
    )


if __name__ == "__main__":
    main()
