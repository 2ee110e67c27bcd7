"""The whole path on this machine, offline.

Weights -> every target that can be made here -> a table and a picture; then the model that comes with the package on
photographs (examples/photographs).

python benchmarks/scripts/demo.py [--images 80] [--output demo]

The weights (benchmarks/weights/scenes.safetensors) were trained by benchmarks/scripts/train_scenes.py on
generated scenes; AP is measured on scenes that training never saw.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from edgeyolo import Detector
from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.cli.console import note, print_table, progress, steps
from edgeyolo.datasets import Dataset, load_dataset
from edgeyolo.datasets.scenes import make_scene, write_dataset
from edgeyolo.evaluation.validate import ValidationResult, validate
from edgeyolo.export import ExportOptions, export

WEIGHTS = Path(__file__).parents[1] / "weights" / "scenes.safetensors"
PHOTOGRAPHS = Path(__file__).parents[2] / "examples" / "photographs"
HEIGHT = 480  # pixels of the picture of them
SIDE = 320
PICTURE_SEED = 2006
CALIBRATION_SEEDS = range(5000, 5100)  # seen by no training and no evaluation
REFERENCE = "cpu-torch-fp32"


def export_all(folder: Path) -> list[Artifact]:
    """One artifact for each target that this machine can make and run.

    Says why not for the others.
    """
    write_dataset(folder / "calibration", CALIBRATION_SEEDS, (SIDE, SIDE))
    calibration = registry.open_calibration(str(folder / "calibration"), images=len(CALIBRATION_SEEDS))
    made = []
    for profile, backend in registry.profiles():
        reasons = [each.reason for each in (backend.can_compile(), backend.can_run()) if not each.ok]
        if reasons:
            note(f"{profile.target}: left out, {reasons[0]}")
            continue
        options = ExportOptions(size=(SIDE, SIDE), overwrite=True, calibration=calibration)
        with steps() as step:
            step(f"exporting {profile.target}")
            made.append(export(WEIGHTS, str(profile.target), folder / str(profile.target), options))
    return sorted(made, key=lambda artifact: str(artifact.manifest.target) != REFERENCE)


def evaluate(artifact: Artifact, dataset: Dataset) -> ValidationResult:
    """AP and stage times of one artifact."""
    with Detector(artifact.path) as detector, progress(f"evaluating {artifact.manifest.target}") as advance:
        return validate(detector, dataset, progress=advance)


def print_results(artifacts: list[Artifact], results: list[ValidationResult]) -> None:
    """The table: target, size, latency, AP, AP lost against the first row, deviation."""
    reference = results[0].metrics["AP"] or 0.0
    rows = []
    for artifact, result in zip(artifacts, results, strict=True):
        average, speed = result.metrics["AP"] or 0.0, result.speed
        total = sum(speed[stage].median for stage in ("preprocess", "inference", "postprocess"))
        parity = artifact.manifest.parity
        rows.append(
            (
                str(artifact.manifest.target),
                f"{artifact.size / 1e6:.1f} MB",
                f"{speed['inference'].median:.1f} ms",
                f"{total:.1f} ms",
                f"{average:.4f}",
                f"{reference - average:+.4f}",
                f"{parity.worst:.0e}" if parity else "",
            )
        )
    columns = ("target", "size", "inference", "with pre/post", "AP", "AP lost", "deviation from torch")
    print_table(columns, rows)


def show_builtin(folder: Path) -> None:
    """Detect with the built-in model in the photographs.

    Says how to go on with one's own pictures.
    """
    print("\nThe model that comes with the package, on photographs:")
    drawn = []
    with Detector() as detector:
        for file in sorted(PHOTOGRAPHS.glob("*.jpg")):
            found = detector(file)
            print(f"{file.name}: {found!r}")
            picture = found.plot(file)
            drawn.append(cv2.resize(picture, (picture.shape[1] * HEIGHT // picture.shape[0], HEIGHT)))
    saved = folder / "photographs.jpg"
    cv2.imwrite(str(saved), np.hstack(drawn))
    print(f"saved to {saved}")
    print(
        "Your own webcam: edgeyolo detect 0 --show; a film: edgeyolo detect FILM --show; a photo: edgeyolo detect PHOTO"
    )


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=80)
    parser.add_argument("--output", type=Path, default=Path("demo"))
    options = parser.parse_args()
    artifacts = export_all(options.output)
    dataset = load_dataset(write_dataset(options.output / "scenes", range(options.images), (SIDE, SIDE)))
    results = [evaluate(artifact, dataset) for artifact in artifacts]
    print_results(artifacts, results)
    picture = make_scene(PICTURE_SEED).image
    with Detector(options.output / "cpu-onnx-fp32", conf=0.4) as detector:
        found = detector(picture)
    saved = options.output / "detections.png"
    cv2.imwrite(str(saved), found.plot(picture))
    print(
        f"AP: {options.images} generated scenes, {SIDE}x{SIDE}; ms: median of one image at a time on this machine."
    )
    print(f"{found!r}\nsaved to {saved}")
    show_builtin(options.output)


if __name__ == "__main__":
    main()
