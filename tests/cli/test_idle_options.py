"""Options that would do nothing are refused: no command is quiet about what it does not heed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgeyolo.cli import cli
from edgeyolo.datasets import load_dataset
from edgeyolo.errors import DatasetError, UsageError


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def refusal(*words: object) -> str:
    """The command's usage error, which ends it with exit code 2."""
    done = run(*words)
    assert isinstance(done.exception, UsageError), done.output
    return done.exception.message


EXPORT = ("export", "w.safetensors", "--target")
IDLE: list[tuple[tuple[object, ...], str]] = [
    ((*EXPORT, "cpu-onnx-fp32", "--split", "val"), "--split: a part of --data"),
    ((*EXPORT, "cpu-onnx-fp32", "--max-ap-drop", 2), "--max-ap-drop: AP is measured on --data"),
    ((*EXPORT, "cpu-onnx-int8", "--calib-images", 9), "--calib-images: a sample of --calib"),
    ((*EXPORT, "cpu-onnx-int8", "--calib-seed", 9), "--calib-seed: a sample of --calib"),
    ((*EXPORT, "cpu-onnx-fp32", "--max-batch", 9), "--max-batch: how far a dynamic batch goes"),
    ((*EXPORT, "cpu-onnx-fp32", "--ranges", "r.json"), "--ranges: for INT8 targets"),
    ((*EXPORT, "cpu-onnx-int8", "--preset", "mixed"), "--preset: for the INT8 targets of OpenVINO"),
    ((*EXPORT, "cpu-onnx-int8", "--float-layers", "spp"), "--float-layers: for the INT8 targets of OpenVINO"),
    ((*EXPORT, "cpu-openvino-fp32", "--accuracy-aware"), "--accuracy-aware: for the INT8 targets"),
    (("import", "w.pt", "--split", "val"), "--split: a part of --data"),
    (("detect", "a.jpg", "--policy", "every"), "--policy: for films and cameras"),
    (("detect", "a.jpg", "--max-fps", 2), "--max-fps: for films and cameras"),
    (("detect", "a.jpg", "--show"), "--show: for films and cameras"),
    (("detect", "a.mp4", "--max-staleness", 1), "--max-staleness: for cameras"),
    (("detect", "a.jpg", "--no-save", "-o", "out"), "--output: where to write"),
    (("detect", "a.jpg", "-o", "out.mp4"), "names a film"),
    (("detect", "w.pt", "--explain", "--conf", 0.3), "--conf: for detecting"),
    (("track", "--eval", "gt.txt", "t.txt", "--csv", "t.csv"), "--csv: --eval compares"),
    (("track", "--eval", "gt.txt", "t.txt", "--line", "0,0,9,9"), "--line: --eval compares"),
    (("track", "--detections", "d.txt", "--seqinfo", "s.ini", "--line", "0,0,9,9"), "--line: for films"),
    (("track", "--detections", "d.txt", "--seqinfo", "s.ini", "--conf", 0.2), "--conf: for films"),
    (("track", "a.mp4", "--max-staleness", 1), "--max-staleness: for cameras"),
    (("adopt", "m.onnx", "--template", "-o", "out"), "--output: for an artifact"),
    (("bench", "a", "--split", "val"), "--split: a part of --data"),
    (("bench", "a", "--tolerance", 0.1), "--tolerance: how far from --baseline"),
    (("bench", "a", "--remote-python", "py"), "--remote-python: for the device of --remote"),
    (("bench", "a", "--calib", "c"), "--calib: for INT8 targets"),
    (("calibrate", "w.pt", "--calib", "c", "--split", "val"), "--split: a part of --data"),
    (("calibrate", "w.pt", "--calib", "c", "--ap-layers", 3), "--ap-layers: of how many layers"),
]


@pytest.mark.parametrize(("words", "said"), IDLE, ids=[" ".join(map(str, words)) for words, _ in IDLE])
def test_an_option_that_would_do_nothing_is_refused(
    words: tuple[object, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "m.onnx", "w.safetensors", "w.pt"):
        (tmp_path / name).touch()
    assert said in refusal(*words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "m.onnx", "w.pt", "w.safetensors"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--no-val", "--val-data", "d"), "--val-data: settings of validation, which --no-val leaves out"),
        (("--no-val", "--rect"), "--rect: settings of validation"),
        (("-o", "out", "--project", "p"), "--project: the place of folders"),
        (("--qat", "--no-autoanchor"), "--no-autoanchor cannot be had with it"),
    ],
)
def test_training_refuses_what_it_would_not_heed(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the train extra")
    assert said in refusal("train", "yolov7-tiny", "--data", tmp_path, *words)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """images/a.jpg and val.json."""
    import cv2
    import numpy as np

    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.jpg"), np.zeros((60, 80, 3), np.uint8))
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "area": 1200, "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 80, "height": 60}],
        "annotations": [box],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    return tmp_path / "val.json"


def test_a_coco_file_is_one_split_and_says_so_where_another_is_asked_for(coco: Path) -> None:
    assert len(load_dataset(coco)) == 1
    assert len(load_dataset(coco, split="val")) == 1  # the file's own
    with pytest.raises(DatasetError, match=r"no split 'test': a COCO json file is one split") as caught:
        load_dataset(coco, split="test")
    assert caught.value.exit_code == 2
    assert "no split 'test'" in refusal("val", "builtin", "--data", coco, "--split", "test")


def test_the_default_split_of_a_training_is_none_of_a_coco_file(coco: Path) -> None:
    import click

    from edgeyolo.cli.train_options import DATA_OPTIONS, data_source, with_options

    found = []

    @click.command()
    @with_options(*DATA_OPTIONS)
    def command(**options: object) -> None:
        found.append(data_source(options))

    for words in ([], ["--split", "val"], ["--split", "all"]):
        done = CliRunner().invoke(command, ["--data", str(coco), *words], catch_exceptions=False)
        assert done.exit_code == 0
        assert len(found.pop().load().training) == 1
    done = CliRunner().invoke(command, ["--data", str(coco), "--split", "train"])
    assert "no split 'train'" in str(done.exception)
    done = CliRunner().invoke(command, ["--data", str(coco), "--val-split", "val"])
    assert "nothing of it is left to validate on" in str(done.exception)


def test_an_image_folder_is_for_a_coco_file_alone(coco: Path, tmp_path: Path) -> None:
    assert len(load_dataset(coco, image_folder=tmp_path / "images")) == 1
    yaml = tmp_path / "data.yaml"
    yaml.write_text("path: .\nval: images\nnames: [cat]\n")
    with pytest.raises(DatasetError, match="only a COCO json has them elsewhere"):
        load_dataset(yaml, image_folder=tmp_path / "images")


@pytest.mark.parametrize("extra", ["--no-save", "--json"])
def test_labels_alone_are_written_where_pictures_are_not(
    small_artifact: Path, coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("detect", small_artifact, tmp_path / "images", "--save-txt", "--save-json", extra)
    assert done.exit_code == 0, done.output
    folder = tmp_path / "runs" / "detect" / "exp"
    assert sorted(path.name for path in folder.iterdir()) == ["detections.json", "labels"]
    assert [path.name for path in (folder / "labels").iterdir()] == ["a.txt"]
