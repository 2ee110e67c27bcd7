"""Training and validation data of a run, and its device."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from edgeyolo.cli.train_command import command as train  # noqa: E402
from edgeyolo.cli.train_options import quantized_options, run_config, run_recipe  # noqa: E402
from edgeyolo.datasets.scenes import write_dataset  # noqa: E402
from edgeyolo.errors import DamagedFileError, RuntimeMissingError, UsageError  # noqa: E402
from edgeyolo.training.devices import default_precision, find_device, multiplies_bfloat16  # noqa: E402
from edgeyolo.training.recipe import QAT, SHORT, TINY, Recipe  # noqa: E402
from edgeyolo.training.sources import FILE, DataSource  # noqa: E402


def test_coco_folder_by_the_names_of_its_files(tmp_path: Path) -> None:
    """annotations/instances_train.json and instances_val.json, as COCO itself comes."""
    (tmp_path / "annotations").mkdir()
    for split, seeds in (("train", range(3)), ("val", range(3, 5))):
        described = write_dataset(tmp_path / split, seeds, (64, 64))
        shutil.copytree(described.parent / "images", tmp_path / "images", dirs_exist_ok=True)
        described.rename(tmp_path / f"annotations/instances_{split}.json")
    data = DataSource(str(tmp_path)).load()
    assert data.validation is not None
    assert (len(data.training), len(data.validation), data.notes) == (3, 2, ())
    assert DataSource(str(tmp_path), validate=False).load().validation is None
    same = DataSource(str(tmp_path), val_split="train").load()
    assert same.notes == ("3 of the 3 validation images are training images: AP is too good there",)


def test_validation_images_without_objects_are_no_reason_to_stop(tmp_path: Path) -> None:
    for split, label in (("train", "0 0.5 0.5 0.2 0.2"), ("val", "")):
        for part in ("images", "labels"):
            (tmp_path / part / split).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(tmp_path / "images" / split / "a.png")
        (tmp_path / "labels" / split / "a.txt").write_text(label)
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat]\n")
    data = DataSource(str(tmp_path)).load()
    assert (len(data.training), data.validation) == (1, None)
    assert data.notes[0].startswith("no AP: none of the 1 validation images has an object")


def test_read_back_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    DataSource("train.json", val_path="val.json", image_folder="pictures").save(tmp_path / "run")
    read = DataSource.read(tmp_path / "run")
    paths = (str(tmp_path / name) for name in ("train.json", "val.json", "pictures"))
    assert (read.path, read.val_path, read.image_folder) == tuple(paths)
    assert (read.split, read.val_split, read.validate) == ("train", None, True)
    with pytest.raises(UsageError, match="does not say what data"):
        DataSource.read(tmp_path)
    (tmp_path / "run" / FILE).write_text('{"where": 1}')
    with pytest.raises(DamagedFileError, match=FILE):
        DataSource.read(tmp_path / "run")


@pytest.mark.parametrize(
    "found, fast",
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"architecture": "aarch64", "bf16": True}, True),
        ({}, False),
    ],
)
def test_processors_with_bfloat16(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, bool | str], fast: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert multiplies_bfloat16() is fast
    options = dict.fromkeys(("device", "threads")) | {"precision": "bf16"}
    said: list[str] = []
    monkeypatch.setattr("edgeyolo.cli.train_options.note", said.append)
    assert run_config(options | {"device": "cpu"}).precision == "bf16"
    assert [text.split(":")[0] for text in said] == ([] if fast else ["--amp bf16"])
    assert run_config(options | {"device": "cpu", "precision": "none"}).precision == "fp32"
    assert len(said) == (not fast)


@pytest.mark.parametrize(
    "given, epochs",
    [(["--qat"], 10), (["--qat", "--epochs", "3"], 3), ([], 300)],
)
def test_quantization_aware_runs_have_defaults_of_their_own(given: list[str], epochs: int) -> None:
    with train.make_context("train", ["best.safetensors", "--data", "data.yaml", *given]) as context:
        assert (quantized_options(context.params) is not None) == bool(given)
    assert context.params["epochs"] == epochs


@pytest.mark.parametrize(
    "default, given, chosen, told",
    [
        (TINY, [], ("sgd", 0.01), False),
        (QAT, [], ("adamw", 1e-5), False),
        (TINY, ["--optimizer", "sgd"], ("sgd", 0.01), False),
        (TINY, ["--optimizer", "adamw"], ("adamw", 0.01), True),
        (TINY, ["--optimizer", "adamw", "--set", "lr0=0.001"], ("adamw", 0.001), False),
        (TINY, ["--set", "optimizer=adamw", "--set", "lr0=0.001"], ("adamw", 0.001), False),
        (TINY, ["--recipe", "short"], ("adamw", SHORT.lr0), False),
        (TINY, ["--recipe", "short", "--optimizer", "sgd"], ("sgd", SHORT.lr0), True),
    ],
)
def test_a_rate_is_made_for_one_optimizer(
    default: Recipe,
    given: list[str],
    chosen: tuple[str, float],
    told: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Changing the optimiser alone gives a note about the learning rate."""
    with train.make_context("train", ["yolov7-tiny", "--data", "data.yaml", *given]) as context:
        recipe = run_recipe(context.params, default)
    assert (recipe.optimizer, recipe.lr0) == chosen
    assert ("--set lr0=" in capsys.readouterr().err) is told


def test_integers_are_learned_in_float32_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    options = dict.fromkeys(("threads", "precision")) | {"device": "cpu"}
    assert run_config(options).precision == "bf16"
    assert run_config(options | {"qat": True}).precision == "fp32"
    assert run_config(options | {"qat": True, "precision": "bf16"}).precision == "bf16"


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_device("cpu") == "cpu"
    for instructions, precision in (
        ({"avx512_bf16": True}, "bf16"),
        ({"avx512_bf16": False}, "fp32"),
        ({}, "fp32"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=instructions: found, raising=False)
        assert default_precision("cpu") == precision
    assert default_precision("mps") == "fp32"
    with pytest.raises(UsageError, match="abacus"):
        find_device("abacus")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device() == "cpu"
    with pytest.raises(RuntimeMissingError, match="'0'"):
        find_device("0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert (find_device(), find_device("1"), find_device("cuda")) == ("cuda:0", "cuda:1", "cuda:0")
    with pytest.raises(UsageError, match="2 GPUs"):
        find_device("2")
    assert default_precision("cuda:1") == "fp16"
