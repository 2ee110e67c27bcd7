"""`edgeyolo export` for several targets at a time."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="needs the export extra")

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.cli import cli
from edgeyolo.export import ExportOptions, export
from edgeyolo.export.options import comparison_pictures


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli, [str(each) for each in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def test_several_targets_are_made_in_one_call(small_weights: Path, tmp_path: Path) -> None:
    targets = ["--target", "cpu-onnx-fp32,cpu-torch-fp32", "--target", "cpu-onnx-fp32"]
    code, out, _ = run("export", small_weights, *targets, "-o", tmp_path / "made")
    assert code == 0
    assert "cpu-onnx-fp32" in out
    for target in ("cpu-onnx-fp32", "cpu-torch-fp32"):
        assert str(Artifact.open(tmp_path / "made" / target).manifest.target) == target


def test_one_that_fails_costs_the_others_nothing(small_weights: Path, tmp_path: Path) -> None:
    """cpu-onnx-int8 needs calibration images, and none are given."""
    arguments = ("--target", "cpu-onnx-int8,cpu-onnx-fp32", "-o", tmp_path / "made", "--json")
    code, out, _ = run("export", small_weights, *arguments)
    made, failed = json.loads(out)
    assert code == failed["exit_code"] == 2
    assert (made["target"], failed["target"]) == ("cpu-onnx-fp32", "cpu-onnx-int8")
    assert "--calib" in failed["hint"]
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["cpu-onnx-fp32"]


def test_an_unknown_target_stops_before_any_work(small_weights: Path, tmp_path: Path) -> None:
    from edgeyolo.errors import UsageError

    with pytest.raises(UsageError, match="cpu-onnx-fp31"):
        run("export", small_weights, "--target", "cpu-onnx-fp32,cpu-onnx-fp31", "-o", tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_calibration_images_are_the_compared_ones(
    small_weights: Path, calibration: CalibrationSource, tmp_path: Path
) -> None:
    """Photographs of one's own come first, then the calibration's, at last generated ones."""
    from edgeyolo.datasets.scenes import make_scene
    from edgeyolo_calib.ranges.measured import ChosenImages, MeasuredRanges

    made = export(small_weights, "cpu-onnx-int8", tmp_path / "made", ExportOptions(calibration=calibration))
    assert made.manifest.parity is not None
    assert made.manifest.parity.images == "4 pictures of the calibration, run by onnxruntime"
    cv2.imwrite(str(tmp_path / "mine.png"), make_scene(7).image)
    file = tmp_path / "mine.png"
    (mine,), said = comparison_pictures(ExportOptions(images=(file,), calibration=calibration))
    assert said == "1 photographs"
    assert np.array_equal(mine, make_scene(7).image)
    chosen, said = comparison_pictures(ExportOptions(calibration=ChosenImages(calibration, file, ())))
    assert said == "4 pictures of the calibration"
    assert all(map(np.array_equal, chosen, calibration.pictures(4)))
    for without in (None, MeasuredRanges(file, "0" * 64, 8, "ranges alone")):
        assert comparison_pictures(ExportOptions(calibration=without))[1] == "3 generated pictures"
