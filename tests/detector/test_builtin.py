"""The model that comes with the package: it runs on the base install, offline, and other commands know its name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edgeyolo import Detector
from edgeyolo.artifact.artifact import Artifact
from edgeyolo.cli import cli
from edgeyolo.cli.detect_command import model_and_images
from edgeyolo.detector import builtin
from edgeyolo.errors import UsageError
from edgeyolo.models.weights import read_info

ROOM = 14_000_000  # bytes of the wheel
HERE = Path(__file__).parents[2]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    cv2.imwrite(str(path), np.full((90, 120, 3), 114, np.uint8))
    return path


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli, [str(each) for each in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def test_the_artifact_is_small_and_needs_the_base_install_only() -> None:
    artifact = Artifact.open(builtin.artifact_path())
    assert artifact.manifest.backend == "onnxruntime"
    assert {"person", "car", "dog"} < set(artifact.manifest.class_names)
    assert sum(path.stat().st_size for path in artifact.path.iterdir()) <= ROOM


def test_weights_and_artifact_are_of_one_training() -> None:
    info, manifest = read_info(builtin.weights_path()), Artifact.open(builtin.artifact_path()).manifest
    assert info.class_names == manifest.class_names
    assert info.form == "training"
    assert manifest.provenance["float32_sha256"] == info.provenance["float32_sha256"]


def test_the_card_tells_of_this_artifact() -> None:
    card = (builtin.artifact_path().parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert Artifact.open(builtin.artifact_path()).sha256 in card
    assert read_info(builtin.weights_path()).sha256 in card
    assert "Apache-2.0" in card
    recorded = json.loads((HERE / "benchmarks/results/train-builtin.json").read_text(encoding="utf-8"))
    said = re.search(r"\| (0\.\d{4}) \| (0\.\d{4}) \| \d+ x \d+ \|", card)
    assert said is not None
    # The card's are of the artifact, the record's of the network in torch.
    assert float(said[1]) == pytest.approx(recorded["metrics"]["AP"], abs=0.01)


def test_no_photograph_and_no_path_of_a_machine_is_shipped() -> None:
    for text in (
        (builtin.artifact_path() / "manifest.json").read_text(encoding="utf-8"),
        json.dumps(read_info(builtin.weights_path()).provenance),
        (HERE / "benchmarks/results/train-builtin.json").read_text(encoding="utf-8"),
    ):
        assert not re.search(r'"/(work|home|root|tmp|Users)', text)


def test_detector_without_arguments() -> None:
    with Detector() as detector:
        assert "person" in detector.class_names
        assert detector.artifact.path == builtin.artifact_path()
        assert len(detector(np.zeros((64, 48, 3), np.uint8))) == 0


def test_detect_with_an_image_only(photo: Path) -> None:
    code, out, _ = run("detect", photo, "--json")
    assert code == 0
    assert json.loads(out) == [{"image": str(photo), "detections": []}]  # a grey picture


def test_detect_without_a_model_introduces_it_once(photo: Path) -> None:
    code, out, err = run("detect", photo, photo, "--json")
    assert code == 0
    assert len(json.loads(out)) == 2  # nothing but JSON
    names = Artifact.open(builtin.artifact_path()).manifest.class_names
    (line,) = [line for line in err.splitlines() if "AP50" in line]
    assert line.count(", ".join(names)) == 1
    card = (builtin.artifact_path().parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    said = re.search(r"AP50 (0\.\d{3})", line)
    assert said is not None
    assert f"{float(re.search(r'[|] (0[.][0-9]{4}) [|] [0-9]+ x', card)[1]):.3f}" == said[1]  # type: ignore[index]
    assert "--weights yolov7-tiny" in line
    for chosen in (("builtin", photo), ("--weights", "builtin", photo)):
        _, _, err = run("detect", *chosen, "--json")
        assert "AP50" not in err


def test_a_class_is_shown_by_its_own_confidence() -> None:
    manifest = Artifact.open(builtin.artifact_path()).manifest
    with Detector() as detector:
        own = detector.pipeline.config.class_conf
    assert own is not None
    assert dict(zip(manifest.class_names, own, strict=True)) == manifest.provenance["class_confidence"]
    assert (
        manifest.provenance["class_confidence"]
        == read_info(builtin.weights_path()).provenance["class_confidence"]
    )
    assert manifest.provenance["measured"]["precision"] >= 0.7
    card = (builtin.artifact_path().parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    for name, value in zip(manifest.class_names, own, strict=True):
        assert re.search(rf"^[|] {name} [|].*[|] {value:.2f} [|]", card, re.MULTILINE), name
    with Detector(conf=0.25) as detector:
        assert detector.pipeline.config.class_conf is None


def test_detect_says_which_image_is_missing(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["detect", str(tmp_path / "phoot.jpg")])
    assert "phoot.jpg: there is no such file" in str(done.exception)


def test_other_commands_know_the_name(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    code, out, err = run(
        "export", "builtin", "--target", "cpu-torch-fp32", "--imgsz", 64, "-o", tmp_path / "x", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["target"] == "cpu-torch-fp32"


def test_training_goes_on_from_it(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from edgeyolo.datasets.scenes import write_dataset

    data = write_dataset(tmp_path / "data", range(2), (64, 64))
    code, out, err = run(
        "train", "builtin", "--data", data, "--imgsz", 64, "--epochs", 1, "--batch", 2, "--no-val",
        "--threads", 1, "-o", tmp_path / "run", "--json",
    )  # fmt: skip
    assert code == 0, err
    assert "tensors taken from the weights" in err
    assert Path(json.loads(out)["last"]).is_file()


def test_another_size_is_exported_from_the_weights(
    tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path / "cache"))
    code, _, err = run("detect", photo, "--imgsz", 64, "--json")
    assert code == 0, err
    assert len(list((tmp_path / "cache/artifacts").iterdir())) == 1


def test_builtin_weights_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "_HERE", Path("/nowhere/edgeyolo/builtin"))
    with pytest.raises(UsageError, match="not installed, only what runs on this CPU"):
        builtin.weights_path()


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert builtin.is_builtin("builtin")
    (tmp_path / "builtin").mkdir()
    assert not builtin.is_builtin("builtin")


def test_model_argument_is_recognised(tmp_path: Path) -> None:
    images, artifact = tmp_path / "photos", tmp_path / "cells-onnx"
    images.mkdir()
    artifact.mkdir()
    (artifact / "manifest.json").touch()
    ours = builtin.NAME
    for arguments, expected in (
        (("a.jpg",), (ours, ("a.jpg",))),
        (("a.jpg", "b.PNG"), (ours, ("a.jpg", "b.PNG"))),
        (("*.jpg",), (ours, ("*.jpg",))),
        ((str(images),), (ours, (str(images),))),
        ((str(artifact),), (str(artifact), ())),
        ((str(artifact), "a.jpg"), (str(artifact), ("a.jpg",))),
        (("yolov7-tiny",), ("yolov7-tiny", ())),
        (("best.safetensors", str(images)), ("best.safetensors", (str(images),))),
    ):
        assert model_and_images(None, arguments) == expected, arguments
    assert model_and_images("best.pt", ("a.jpg",)) == ("best.pt", ("a.jpg",))
