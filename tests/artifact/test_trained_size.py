"""The size that a network was trained at: kept in its weights, everybody's default, said where it is a guess."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from edgeyolo.artifact.trained_size import SizeWarning, as_size, size_of_provenance, size_remark

TRAINED_AT_64 = {"training": {"config": {"image_size": 64}}}


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (256, (256, 256)), ([384, 640], (384, 640)), ([256], (256, 256)), ("256", None), (True, None), (0, None),
        ([1, 2, 3], None), (None, None), (10**9, None), ([64.0, 64.0], None),
    ],
)  # fmt: skip
def test_a_size_is_one_side_or_two(value, size):
    assert as_size(value) == size


def test_the_account_of_a_training_says_it():
    assert size_of_provenance(TRAINED_AT_64) == (64, 64)
    assert size_of_provenance({"training": {"image_size": [96, 64]}}) == (96, 64)
    assert size_of_provenance({"training": "x"}) is None
    assert size_of_provenance({}) is None


def test_a_guess_is_named_and_another_size_is_said():
    assert "guess" in size_remark("a.pt", (640, 640), None, asked=False, model="yolov7")
    assert not size_remark("a.pt", (640, 640), None, asked=True)
    assert not size_remark("a.pt", (384, 640), (384, 640), asked=False)
    assert "trained at 384x640" in size_remark("a.pt", (640, 640), (384, 640), asked=True)


@pytest.fixture
def resaved(small_weights: Path, tmp_path: Path):
    """The small network written again with what is said of its training."""
    weights = pytest.importorskip("edgeyolo.models.weights", reason="needs the export extra")
    own = weights.load(small_weights)

    def save(provenance, size=None) -> Path:
        path = tmp_path / "resaved.safetensors"
        weights.save(path, own.network, own.class_names, provenance, size=size)
        return path

    return save


@pytest.mark.parametrize(
    ("provenance", "size", "known"),
    [
        ({}, None, None),
        ({}, (64, 96), (64, 96)),
        (TRAINED_AT_64, None, (64, 64)),
        (TRAINED_AT_64, (32, 32), (32, 32)),
    ],
)
def test_weights_keep_it(resaved, provenance, size, known):
    from edgeyolo.models.importer import import_checkpoint
    from edgeyolo.models.weights import read_info

    path = resaved(provenance, size)
    assert read_info(path).size == known
    assert import_checkpoint(path).size == known


def test_weights_of_before_have_it_in_their_provenance(resaved, monkeypatch):
    from edgeyolo.models import weights

    with monkeypatch.context() as patched:  # as files were written before: without an entry of its own
        patched.setattr(weights, "size_of_provenance", lambda provenance: None)
        path = resaved(TRAINED_AT_64)
    assert weights.read_info(path).size == (64, 64)


@pytest.mark.parametrize(("size", "expected"), [(None, (64, 96)), ((32, 32), (32, 32))])
def test_a_detector_runs_weights_at_the_size_of_their_training(
    resaved, tmp_path, monkeypatch, size, expected
):
    from edgeyolo import Detector

    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path / "cache"))
    path = resaved({}, (64, 96))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with Detector(path, size=size) as detector:
            assert detector.artifact.manifest.input.size == expected
    remarks = [str(each.message) for each in told if issubclass(each.category, SizeWarning)]
    assert remarks == [] if size is None else "trained at 64x96" in remarks[0]


def test_a_detector_names_a_guess(resaved, tmp_path, monkeypatch):
    from edgeyolo import Detector

    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path / "cache"))
    with pytest.warns(SizeWarning, match="96x96.* is a guess"), Detector(resaved({})):
        pass


def test_export_and_check_take_it_and_say_where_another_is_used(resaved, tmp_path):
    from click.testing import CliRunner

    from edgeyolo.artifact.artifact import Artifact
    from edgeyolo.cli import cli

    path = resaved({}, (64, 96))
    for arguments, size, said in ([], (64, 96), False), (["--imgsz", "96"], (96, 96), True):
        into = tmp_path / f"made-{len(arguments)}"
        command = ["export", str(path), "--target", "cpu-onnx-fp32", "-o", str(into), *arguments]
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 0, done.output
        assert Artifact.open(into).manifest.input.size == size
        assert ("trained at 64x96" in done.output) is said
        checked = CliRunner().invoke(cli, ["check", str(path), "--target", "cpu-onnx-fp32", *arguments])
        assert f"at {size[0]}x{size[1]}" in checked.output
        assert ("trained at 64x96" in checked.output) is said


def test_a_checkpoint_that_keeps_its_options_says_it():
    from edgeyolo.models.checkpoint.contents import _image_size

    assert _image_size({"opt": {"img_size": [320, 640]}}) == 320
    assert _image_size({"args": {"imgsz": 416}}) == 416
    assert _image_size({"imgsz": 96}) == 96
    assert _image_size({"opt": {"imgsz": "416"}, "model": None}) is None
