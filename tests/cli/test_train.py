"""`edgeyolo train` as its users meet it: what a run leaves, how it goes on after Ctrl-C, what it refuses."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

torch = pytest.importorskip("torch")

from edgeyolo.datasets.scenes import CLASS_NAMES, write_dataset  # noqa: E402
from edgeyolo.models import weights  # noqa: E402

from .in_process import SHORT, Done, edgeyolo  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str, str]:
    """Options that name a training and a validation set of generated scenes."""
    folder = tmp_path_factory.mktemp("scenes")
    train = write_dataset(folder / "train", range(1000, 1010), (96, 96))
    val = write_dataset(folder / "val", range(4), (96, 96))
    return "--data", str(train), "--val-data", str(val)


@dataclass(frozen=True)
class Run:
    folder: Path
    done: Done


@pytest.fixture(scope="module")
def whole(data: tuple[str, ...], small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of three epochs that nothing interrupted, in the default folder."""
    cwd = tmp_path_factory.mktemp("whole")
    done = edgeyolo("train", small_weights, *data, *SHORT, "--epochs", 3, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return Run(cwd / "runs/train/exp", done)


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = (weights.load(path).network.state_dict() for path in (one, other))
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


def test_a_run_from_weights_of_other_classes(whole: Run) -> None:
    result = json.loads(whole.done.stdout)
    assert result["folder"] == "runs/train/exp"
    assert [row["epoch"] for row in result["epochs"]] == [0, 1, 2]
    fitness = [0.9 * row["AP"] + 0.1 * row["AP50"] for row in result["epochs"]]
    assert fitness[result["best_epoch"]] == max(fitness) == 0.9 * result["AP"] + 0.1 * result["AP50"] > 0
    assert whole.folder.parents[2] / result["best"] == whole.folder / "weights/best.safetensors"
    info = weights.read_info(whole.folder / "weights/last.safetensors")
    assert info.class_names == CLASS_NAMES
    assert info.provenance["training"]["recipe"]["name"] == "custom"
    for name in ("results.png", "labels.png", "val_batch.jpg", "train_batch0.jpg", "results.csv"):
        assert (whole.folder / name).stat().st_size > 100, name
    assert "tensors taken from the weights" in whole.done.stderr
    assert "outputs.0.conv.weight (channels of" in " ".join(whole.done.stderr.split())
    assert "epoch 3/3  box" in whole.done.stderr


def test_best_is_exported_as_it_is(whole: Run, tmp_path: Path) -> None:
    best = whole.folder / "weights/best.safetensors"
    done = edgeyolo(
        "export", best, "--target", "cpu-onnx-fp32", "--imgsz", 64, "-o", "art", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parity"] < 1e-4


def test_table_at_the_end_and_the_next_free_folder(
    data: tuple[str, ...], small_weights: Path, tmp_path: Path
) -> None:
    for name in ("exp", "exp2"):
        done = edgeyolo(
            "train", small_weights, *data, *SHORT, "--epochs", 1, "--set", "box=0.06", "--set", "lr0=0.002",
            "--freeze", "backbone", "--freeze", "stem", "--project", "mine", cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"mine/train/{name}/weights/best.safetensors" in done.stdout
    trained = weights.load(tmp_path / "mine/train/exp/weights/last.safetensors")
    assert trained.provenance["training"]["recipe"]["box"] == 0.06
    before = weights.load(small_weights).network
    assert torch.equal(trained.network.stem[0].branch.conv.weight, before.stem[0].branch.conv.weight)
    assert not torch.equal(trained.network.spp.mix.branch.conv.weight, before.spp.mix.branch.conv.weight)


@pytest.mark.slow
def test_ctrl_c_then_resume_ends_with_the_same_weights(
    whole: Run, data: tuple[str, ...], small_weights: Path, tmp_path: Path
) -> None:
    """Stopped somewhere in the second epoch of a process of its own, as at a terminal."""
    arguments = ["train", small_weights, *data, *SHORT, "--epochs", 3, "-o", "stopped run"]
    command = [sys.executable, "-c", "from edgeyolo.cli import main; main()", *map(str, arguments)]
    log = tmp_path / "stderr.txt"
    with log.open("w") as stderr:
        child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        deadline = time.monotonic() + 60
        while "epoch 1/3" not in log.read_text():
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGINT)
        printed = child.communicate(timeout=60)[0]
    finally:
        child.kill()
    told = " ".join(log.read_text().split())
    assert child.returncode == 130, told
    assert printed == ""
    assert "Go on with: edgeyolo train --resume 'stopped run'" in told
    with (tmp_path / "stopped run/results.csv").open() as file:
        assert len(list(csv.DictReader(file))) < 3

    done = edgeyolo("train", "--resume", "stopped run", "--threads", 1, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "going on at epoch" in done.stderr
    for name in ("last", "best"):
        file = f"weights/{name}.safetensors"
        assert_same_weights(tmp_path / "stopped run" / file, whole.folder / file)
    rows = [json.loads(text)["epochs"] for text in (done.stdout, whole.done.stdout)]
    assert [[row["AP"], row["loss"]] for row in rows[0]] == [[row["AP"], row["loss"]] for row in rows[1]]


def test_a_finished_run_is_resumed_without_effect(whole: Run) -> None:
    before = (whole.folder / "weights/last.safetensors").read_bytes()
    done = edgeyolo("train", "--resume", whole.folder, "--json", cwd=whole.folder)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["epochs"]) == 3
    assert (whole.folder / "weights/last.safetensors").read_bytes() == before


def test_without_validation_best_is_the_last(
    data: tuple[str, ...], small_weights: Path, tmp_path: Path
) -> None:
    done = edgeyolo("train", small_weights, *data[:2], *SHORT, "--epochs", 1, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--val-data" in done.stderr
    assert json.loads(done.stdout)["AP"] is None
    folder = tmp_path / "runs/train/exp/weights"
    assert_same_weights(folder / "best.safetensors", folder / "last.safetensors")


def test_out_of_memory_says_which_batch_to_try(
    data: tuple[str, ...], small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeyolo.training.loss.loss import DetectionLoss

    def fail(*arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(DetectionLoss, "forward", fail)
    done = edgeyolo("train", small_weights, *data, *SHORT, cwd=tmp_path)
    assert done.returncode == 1
    assert "out of memory with batch 4 at 64 pixels" in done.stderr
    assert "--batch 2" in done.stderr


@pytest.mark.parametrize(
    ("activation", "fits"), [("relu", True), pytest.param("leaky", False, marks=pytest.mark.slow)]
)
def test_another_activation_is_learned_kept_and_told_to_the_target(
    data: tuple[str, ...], small_weights: Path, tmp_path: Path, activation: str, fits: bool
) -> None:
    """From --activation to what the edge TPU says of the weights that were learned, and to a file that runs."""
    import onnx

    options = (*SHORT, "--epochs", 1, "--activation", activation, "-o", "run")
    done = edgeyolo("train", small_weights, *data, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "trained with silu, this network has" in " ".join(done.stderr.split())
    best = tmp_path / "run/weights/best.safetensors"
    spec = weights.load(best).network.spec
    assert (spec.name, spec.act) == (("small-relu", "relu") if fits else ("small-leaky-relu", "leaky_relu"))
    checked = edgeyolo("check", best, "--target", "edgetpu-tflite-int8", "--imgsz", 64, cwd=tmp_path)
    assert checked.returncode == (0 if fits else 5), checked.stderr
    assert ("takes this network" if fits else "LeakyRelu (") in checked.stderr
    options = ("--target", "cpu-onnx-fp32", "--imgsz", 64, "--input", "float", "-o", "art")
    made = edgeyolo("export", best, *options, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    kinds = {node.op_type for node in onnx.load(tmp_path / "art/model.onnx").graph.node}
    assert kinds & {"Relu", "LeakyRelu", "Sigmoid"} == {"Relu" if fits else "LeakyRelu"}


def test_activation_option_wins(data: tuple[str, ...], small_weights: Path) -> None:
    """Before the name's own, and before that of the weights; a file alone keeps its own."""
    from edgeyolo.datasets import load_dataset
    from edgeyolo.training.run import prepare_network

    dataset = load_dataset(data[1])
    named = prepare_network("yolov7-tiny", CLASS_NAMES, dataset, 64, activation="relu", autoanchor=False)
    assert (named.network.spec.name, named.network.spec.act) == ("yolov7-tiny-relu", "relu")
    assert prepare_network(small_weights, CLASS_NAMES, dataset, 64).network.spec.act == "silu"
    same = prepare_network(small_weights, CLASS_NAMES, dataset, 64, activation="silu")
    assert same.network.spec.name == "small"
    assert not any("trained with" in note for note in same.notes)


def test_weights_under_a_name_of_another_activation(data: tuple[str, ...], tmp_path: Path) -> None:
    """The network is what its name and --activation say; its weights come from the file, which a note remarks."""
    from edgeyolo.datasets import load_dataset
    from edgeyolo.models import specs
    from edgeyolo.models.build import build
    from edgeyolo.training.run import prepare_network

    dataset, file = load_dataset(data[1]), tmp_path / "silu.safetensors"
    weights.save(file, build(specs.get("yolov7-tiny-silu"), 3), ("cat", "dog", "bird"), {})
    for activation, act, name in (
        (None, "leaky_relu", "yolov7-tiny"),
        ("relu", "relu", "yolov7-tiny-relu"),
        ("silu", "silu", "yolov7-tiny-silu"),
    ):
        start = prepare_network("yolov7-tiny", CLASS_NAMES, dataset, 64, weights=file, activation=activation)
        assert (start.network.spec.act, start.network.spec.name) == (act, name)
        remarked = f"trained with silu, this network has {act}" in " ".join(start.notes)
        assert remarked is (act != "silu")


REFUSED = {
    "no model": ((), "train needs a MODEL"),
    "unknown model": (("yolov9",), "neither a network's name nor a weights file"),
    "unknown setting": (("yolov7-tiny", "--set", "bxo=1"), "Did you mean box?"),
    "setting out of range": (("yolov7-tiny", "--set", "mosaic=2"), "expected a number from 0 to 1"),
    "not a setting": (("yolov7-tiny", "--set", "box"), "expected name=value"),
    "unknown recipe": (("yolov7-tiny", "--recipe", "p7"), "p5, p6, tiny, custom"),
    "no such recipe file": (("yolov7-tiny", "--recipe", "mine.yaml"), "mine.yaml"),
    "odd size": (("yolov7-tiny", "--imgsz", "100"), "multiple of 32"),
    "no batch": (("yolov7-tiny", "--batch", "0"), "'0': expected a number of images from 1, or `auto`"),
    "unknown device": (("yolov7-tiny", "--device", "abacus"), "abacus"),
    "weights twice": (("WEIGHTS", "--weights", "WEIGHTS"), "brings weights already"),
    "weights of another network": (("yolov7-w6", "--weights", "WEIGHTS"), "nothing of it fits yolov7-w6"),
    "another activation with --qat": (
        ("WEIGHTS", "--qat", "--activation", "relu"),
        "--activation cannot be had",
    ),
    "unknown part": (("WEIGHTS", "--freeze", "wheels"), "wheels"),
    "validation data and no validation": (("yolov7-tiny", "--no-val"), "which --no-val leaves out"),
    "patience without validation": (("yolov7-tiny", "--patience", "3", "--no-val"), "needs validation data"),
    "nothing to go on with": (("--resume", "nowhere"), "no run to go on with"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_is_written(
    case: str, data: tuple[str, ...], small_weights: Path, tmp_path: Path
) -> None:
    given, expected = REFUSED[case]
    arguments = [str(small_weights) if argument == "WEIGHTS" else argument for argument in given]
    with_data = () if "--resume" in given else data[:2] if "--patience" in given else data
    done = edgeyolo("train", *arguments, *with_data, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert expected in " ".join(done.stderr.split())
    assert list(tmp_path.rglob("*.*")) == []
    assert not (tmp_path / "runs/train/exp").exists()


def test_data_that_is_missing_or_of_other_classes(
    data: tuple[str, ...], small_weights: Path, tmp_path: Path
) -> None:
    done = edgeyolo("train", small_weights, cwd=tmp_path)
    assert (done.returncode, "--data is missing" in done.stderr) == (2, True)
    done = edgeyolo("train", small_weights, "--data", "nothing.json", cwd=tmp_path)
    assert (done.returncode, "no such file" in done.stderr) == (2, True)
    described = json.loads(Path(data[3]).read_text())
    described["categories"][0]["name"] = "zeppelin"
    other = Path(data[3]).with_name("other.json")
    other.write_text(json.dumps(described))
    done = edgeyolo("train", small_weights, *data[:3], other, cwd=tmp_path)
    assert done.returncode == 1
    assert "zeppelin" in done.stderr
    assert "does not have the classes of the training data" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_run_is_not_trained_over_and_not_changed_on_the_way(
    whole: Run, data: tuple[str, ...], small_weights: Path, tmp_path: Path
) -> None:
    kept = (whole.folder / "data.json").read_bytes()
    done = edgeyolo("train", small_weights, *data, *SHORT, "-o", whole.folder, cwd=tmp_path)
    assert (done.returncode, "holds a run already" in done.stderr) == (2, True)
    assert (whole.folder / "data.json").read_bytes() == kept
    done = edgeyolo("train", "--resume", whole.folder, "--seed", 9, "--set", "box=1", cwd=tmp_path)
    assert done.returncode == 2
    assert "does not take" in done.stderr


def test_choices_are_those_of_the_training_package() -> None:
    from edgeyolo.cli.train_command import command
    from edgeyolo.training.config import Precision
    from edgeyolo.training.data.pictures import Cache
    from edgeyolo.training.recipe import OptimizerName

    choices = {item.name: getattr(item.type, "choices", None) for item in command.params}
    assert tuple(choices["cache"]) == get_args(Cache)
    assert tuple(choices["optimizer"]) == get_args(OptimizerName)
    assert {"fp32" if name == "none" else name for name in choices["precision"]} == set(get_args(Precision))
    assert "torch" not in command.callback.__globals__


def test_yolo_data_by_its_yaml(small_weights: Path, tmp_path: Path) -> None:
    """Validation is the file's own, and an image in both parts is pointed out."""
    pytest.importorskip("yaml")
    images = write_dataset(tmp_path / "set", range(4), (96, 96)).parent / "images"
    (tmp_path / "set/labels").mkdir()
    for image in images.iterdir():
        (tmp_path / "set/labels" / f"{image.stem}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (tmp_path / "set/part.txt").write_text("./images/00000001.png\n")
    names = ", ".join(CLASS_NAMES)
    (tmp_path / "data.yaml").write_text(f"path: set\ntrain: images\nval: part.txt\nnames: [{names}]\n")
    done = edgeyolo(
        "train", small_weights, "--data", "data.yaml", *SHORT, "--epochs", 1, "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "1 of the 1 validation images are training images" in done.stderr
    assert json.loads(done.stdout)["AP"] is not None
