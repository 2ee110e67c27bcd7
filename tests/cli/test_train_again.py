"""Going on with a run: it says what has changed since, and what is still to be done; a folder holds one run."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("faster_coco_eval")

from edgeyolo.datasets.scenes import write_dataset  # noqa: E402
from edgeyolo.models import weights  # noqa: E402
from edgeyolo.support.locks import hold  # noqa: E402
from edgeyolo.training.loop.state import read_facts  # noqa: E402
from edgeyolo.training.loop.trainer import LOCK, STATE  # noqa: E402

from .in_process import SHORT  # noqa: E402
from .in_process import edgeyolo_on_one_line as edgeyolo  # noqa: E402


@pytest.fixture(scope="module")
def first(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a run of one epoch; not to be changed."""
    place = tmp_path_factory.mktemp("first")
    write_dataset(place / "train", range(1000, 1008), (96, 96))
    write_dataset(place / "val", range(4), (96, 96))
    files = [next((place / name).glob("*.json")) for name in ("train", "val")]
    options = ("--data", files[0], "--val-data", files[1], *SHORT, "--epochs", 1, "-o", "run")
    code, _, err = edgeyolo("train", small_weights, *options, cwd=place)
    assert code == 0, err
    return place


@pytest.fixture
def run(first: Path, tmp_path: Path) -> Path:
    """A copy of it whose run learns from the copied data."""
    place = tmp_path / "again"
    shutil.copytree(first, place)
    source = json.loads((place / "run" / "data.json").read_text())
    for key in ("path", "val_path"):
        source[key] = source[key].replace(str(first), str(place))
    (place / "run" / "data.json").write_text(json.dumps(source))
    return place


def test_a_run_that_has_ended_says_so_and_how_to_train_longer(run: Path) -> None:
    code, out, err = edgeyolo("train", "--resume", "run", "--json", cwd=run)
    assert code == 0
    assert len(json.loads(out)["epochs"]) == 1
    assert "the run has ended: all of its 1 epochs are done" in err
    assert "edgeyolo train --resume run --epochs 2" in err
    assert "going on" not in err


def test_more_epochs_go_on_with_the_state_of_the_optimiser(run: Path) -> None:
    code, out, err = edgeyolo("train", "--resume", "run", "--epochs", 3, "--json", cwd=run)
    assert code == 0, err
    assert [row["epoch"] for row in json.loads(out)["epochs"]] == [0, 1, 2]
    assert "going on at epoch 1" in err
    assert read_facts(run / "run" / STATE)["config"]["epochs"] == 3


def test_fewer_epochs_than_are_done_are_refused(run: Path) -> None:
    assert edgeyolo("train", "--resume", "run", "--epochs", 2, cwd=run)[0] == 0
    code, _, err = edgeyolo("train", "--resume", "run", "--epochs", 1, cwd=run)
    assert code == 2
    assert "2 epochs are done already" in err


def test_labels_that_changed_are_noticed(run: Path) -> None:
    file = next((run / "train").glob("*.json"))
    data = json.loads(file.read_text())
    data["annotations"][0]["bbox"][2] += 1
    file.write_text(json.dumps(data))
    _, _, err = edgeyolo("train", "--resume", "run", "--epochs", 2, cwd=run)
    assert "labels of the training data are not those that the run was begun with" in err
    assert "validation data are not" not in err


def test_images_that_changed_are_noticed(run: Path) -> None:
    image = next((run / "val" / "images").iterdir())
    image.write_bytes(image.read_bytes() + b"\0")
    _, _, err = edgeyolo("train", "--resume", "run", "--epochs", 2, cwd=run)
    assert "images of the validation data are not those" in err
    assert "labels" not in err


def test_another_number_of_images_is_noticed_and_learned_from(run: Path) -> None:
    file = next((run / "train").glob("*.json"))
    data = json.loads(file.read_text())
    gone = data["images"].pop()["id"]
    data["annotations"] = [item for item in data["annotations"] if item["image_id"] != gone]
    file.write_text(json.dumps(data))
    code, out, err = edgeyolo("train", "--resume", "run", "--epochs", 2, "--json", cwd=run)
    assert code == 0, err
    assert "there are 7 training images, 8 when the run was begun" in err
    assert len(json.loads(out)["epochs"]) == 2


def test_data_that_did_not_change_is_not_spoken_of(run: Path) -> None:
    assert "begun" not in edgeyolo("train", "--resume", "run", "--epochs", 2, cwd=run)[2]


def test_a_folder_in_which_another_process_trains_is_refused(run: Path) -> None:
    handle = hold(run / "run" / LOCK)
    assert handle is not None
    try:
        code, _, err = edgeyolo("train", "--resume", "run", "--epochs", 2, cwd=run)
    finally:
        handle.release()
    assert code == 2
    assert "another process is training there" in err
    assert (
        not (run / "run" / LOCK).exists()
        or edgeyolo("train", "--resume", "run", "--epochs", 2, cwd=run)[0] == 0
    )
    assert not (run / "run" / LOCK).exists()


@pytest.mark.slow
def test_second_training_into_the_same_new_folder_is_refused(run: Path, small_weights: Path) -> None:
    files = [next((run / name).glob("*.json")) for name in ("train", "val")]
    words = [
        "train",
        small_weights,
        "--data",
        files[0],
        "--val-data",
        files[1],
        *SHORT,
        "--epochs",
        2,
        "-o",
        "new",
    ]
    command = [sys.executable, "-c", "from edgeyolo.cli import main; main()", *map(str, words)]
    both = [subprocess.Popen(command, cwd=run, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    refused = said[0 if both[0].returncode else 1]
    assert "another process is training there" in refused or "holds a run already" in refused
    assert len(json.loads(json.dumps(read_facts(run / "new" / STATE)))["class_names"]) > 0


def test_a_state_is_spoken_of_only_where_one_was_saved(run: Path, small_weights: Path) -> None:
    files = [next((run / name).glob("*.json")) for name in ("train", "val")]
    wild = ("--set", "lr0=1e12", "--set", "warmup_iterations=0")
    options = ("--data", files[0], "--val-data", files[1], *SHORT, *wild, "--epochs", 3, "-o", "wild")
    code, _, err = edgeyolo("train", small_weights, *options, cwd=run)
    assert code == 1
    assert ("is kept in" in err) == (run / "wild" / STATE).exists()
    assert ("No state was saved yet" in err) != (run / "wild" / STATE).exists()


def test_the_folder_holds_all_settings_and_what_was_found(first: Path) -> None:
    import yaml

    settings = yaml.safe_load((first / "run" / "settings.yaml").read_text())
    assert settings["config"]["image_size"] == 64
    assert settings["recipe"]["nominal_batch"] == 8
    assert settings["data"]["val_path"].endswith(".json")
    assert settings["command"].startswith("edgeyolo train ")
    for name in ("confusion_matrix", "PR_curve", "F1_curve", "P_curve", "R_curve", "results", "labels"):
        assert (first / "run" / f"{name}.png").stat().st_size > 1000, name


def test_ground_truth_is_in_the_picture_of_what_is_found(tmp_path: Path) -> None:
    """A network that finds nothing: what is drawn are the labelled boxes, in white."""
    import cv2
    import numpy as np

    from edgeyolo.datasets import load_dataset
    from edgeyolo.runtime.detections import Detections
    from edgeyolo.training.report.pages import draw_found

    class Blind:
        input = SimpleNamespace(size=(96, 96))

        def __call__(self, images: list[np.ndarray]) -> list[Detections]:
            return [Detections.empty(("a",), image.shape[:2]) for image in images]

    dataset = load_dataset(write_dataset(tmp_path, range(1), (96, 96)))
    draw_found(tmp_path / "found.png", Blind(), dataset)  # type: ignore[arg-type]
    drawn = cv2.imread(str(tmp_path / "found.png")).astype(int)
    plain = cv2.imread(str(dataset.images[0].path)).astype(int)
    x1, y1, x2, _ = (round(float(value)) for value in dataset.images[0].boxes[0])
    assert (drawn[max(y1, 0), (x1 + x2) // 2] == 255).all()
    assert (drawn != plain).any()


def test_the_table_holds_the_loss_of_validation(first: Path) -> None:
    import csv

    with (first / "run" / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    for name in ("box", "obj", "cls"):
        assert 0 < float(row[f"val_{name}"]) < 10


def hashes(place: Path) -> dict[str, str]:
    files = {name: place / f"run/weights/{name}.safetensors" for name in ("last", "best")}
    return {name: weights.read_info(file).sha256 for name, file in files.items()}


@pytest.fixture(scope="module")
def undisturbed(first: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of the weights after three epochs."""
    place = tmp_path_factory.mktemp("undisturbed") / "run"
    shutil.copytree(first, place)
    assert edgeyolo("train", "--resume", "run", "--epochs", 3, cwd=place)[0] == 0
    return hashes(place)


@pytest.mark.parametrize("what", ["weights", "state", "pictures"])
def test_a_disk_that_fills_midway_leaves_a_run_that_goes_on(
    undisturbed: dict[str, str], run: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Three epochs, with a full disk in the second, end with the bits of three that nothing disturbed."""
    places = {
        "weights": "edgeyolo.models.weights.save",
        "state": "edgeyolo.training.loop.trainer.save_state",
        "pictures": "edgeyolo.training.report.pages.PageListener.epoch",
    }

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "there")

    with monkeypatch.context() as patch:
        patch.setattr(places[what], full)
        code, _, err = edgeyolo("train", "--resume", "run", "--epochs", 3, cwd=run)
    assert code == 1
    assert "error: cannot write" in err or "error: there: No space left on device" in err
    assert "No space left on device" in err
    assert "go on with: edgeyolo train --resume run" in err
    assert not list(run.glob("run/**/.edgeyolo*"))  # no drafts
    code, _, err = edgeyolo("train", "--resume", "run", "--epochs", 3, cwd=run)
    assert code == 0, err
    assert hashes(run) == undisturbed


def test_a_disk_without_room_for_the_run_is_refused_before_it(
    first: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(total=10**9, used=10**9 - 10**6, free=10**6)
    monkeypatch.setattr("edgeyolo.support.files.shutil.disk_usage", lambda _: usage)
    files = [next((first / name).glob("*.json")) for name in ("train", "val")]
    options = ("--data", files[0], "--val-data", files[1], *SHORT, "--epochs", 1, "-o", "out/run")
    code, _, err = edgeyolo("train", small_weights, *options, cwd=tmp_path)
    assert code == 1
    assert "MB will be written, and 1 MB are free" in err
    assert "epoch 1" not in err
    assert not (tmp_path / "out").exists()
