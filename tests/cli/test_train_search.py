"""`edgeyolo train --search` and `--batch auto` as their users meet them: real runs, kill -9, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("faster_coco_eval")
pytest.importorskip("optuna")

from edgeyolo.cli.train_search import report_search  # noqa: E402
from edgeyolo.datasets.scenes import write_dataset  # noqa: E402
from edgeyolo.training.loop.state import read_facts  # noqa: E402
from edgeyolo.training.loop.trainer import STATE  # noqa: E402

from .in_process import SHORT  # noqa: E402
from .in_process import edgeyolo_on_one_line as edgeyolo  # noqa: E402

TRIALS = ("--epochs", 2, "--space", "lr0", "--space", "box=0.02:0.1", "--search", 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str, str]:
    folder = tmp_path_factory.mktemp("scenes")
    train = write_dataset(folder / "train", range(1000, 1008), (96, 96))
    val = write_dataset(folder / "val", range(4), (96, 96))
    return "--data", str(train), "--val-data", str(val)


@pytest.fixture(scope="module")
def searched(data: tuple[str, ...], small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a search that nothing interrupted, and what it printed as JSON."""
    cwd = tmp_path_factory.mktemp("searched")
    code, out, err = edgeyolo("train", small_weights, *data, *SHORT, *TRIALS, "--json", cwd=cwd)
    assert code == 0, err
    return cwd, json.loads(out), err


def facts(found: dict[str, Any]) -> list[Any]:
    return [(each["values"], each["AP"], each["state"], each["epochs"]) for each in found["trials"]]


def test_a_search_says_what_it_found_and_the_next_run_takes_it(
    searched: Any, data: tuple[str, ...], small_weights: Path
) -> None:
    cwd, found, err = searched
    assert found["folder"] == "runs/search/exp"
    assert found["space"] == {"lr0": [0.002, 0.05], "box": [0.02, 0.1]}
    best = found["trials"][found["best_trial"] - 1]
    assert best["AP"] == found["AP"] == max(each["AP"] for each in found["trials"]) > 0
    assert "searching 2 hyper-parameters: lr0, box" in err
    assert all(f"trial {number} AP" in err for number in (1, 2, 3))
    assert (cwd / found["weights"]).is_file() and (cwd / found["page"]).is_file()
    options = (*data, *SHORT[:6], "--epochs", 1, "--recipe", found["recipe"], "-o", "next")
    code, _, err = edgeyolo("train", small_weights, *options, cwd=cwd)
    assert code == 0, err
    recipe = read_facts(cwd / "next" / STATE)["recipe"]
    assert {name: recipe[name] for name in found["best"]} == found["best"]
    assert recipe["nominal_batch"] == 8  # fixed by --set in the search


def test_the_best_trial_has_the_bits_of_a_run_with_its_recipe(
    searched: Any, data: tuple[str, ...], small_weights: Path
) -> None:
    from edgeyolo.models import weights

    cwd, found, _ = searched
    options = (*data, *SHORT[:6], "--epochs", 2, "--recipe", found["recipe"], "-o", "alone")
    code, _, err = edgeyolo("train", small_weights, *options, cwd=cwd)
    assert code == 0, err
    one, other = (weights.load(path).network.state_dict() for path in (
        cwd / found["weights"], cwd / "alone/weights/best.safetensors",
    ))  # fmt: skip
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_to_the_same_end(
    searched: Any, data: tuple[str, ...], small_weights: Path, tmp_path: Path
) -> None:
    """kill -9 in the second trial, somewhere after its first saved state."""
    arguments = ["train", small_weights, *data, *SHORT, *TRIALS, "-o", "killed"]
    command = [sys.executable, "-c", "from edgeyolo.cli import main; main()", *map(str, arguments)]
    log = tmp_path / "log.txt"
    with log.open("w") as stderr:
        child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        deadline = time.monotonic() + 240
        while not (tmp_path / "killed/trials/0002" / STATE).exists():
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.002)
    finally:
        child.kill()
        child.wait()
    code, out, err = edgeyolo("train", "--resume", "killed", "--threads", 1, "--json", cwd=tmp_path)
    assert code == 0, err
    assert "trial 1 AP" not in err  # it is not made again
    assert facts(json.loads(out)) == facts(searched[1])


def test_a_finished_search_makes_more_trials(searched: Any) -> None:
    cwd, found, _ = searched
    resumed = ("train", "--resume", "runs/search/exp", "--threads", 1)
    code, out, err = edgeyolo(*resumed, "--search", 4, "--json", cwd=cwd)
    assert code == 0, err
    assert facts(json.loads(out))[:3] == facts(found)
    assert len(json.loads(out)["trials"]) == 4
    code, out, err = edgeyolo(*resumed, cwd=cwd)
    assert code == 0 and "trial" in out
    for changed, said in (
        (("--search", 2), "4 trials are made already, more than --search 2"),
        (("--epochs", 3), "all trials of a search are made in the same way"),
        (("--space", "mosaic"), "it does not take --space"),
    ):
        code, _, err = edgeyolo(*resumed, *changed, cwd=cwd)
        assert (code, said in err) == (2, True), err


REFUSED = {
    "no validation": (("--search", 2, "--no-val"), "--no-val: cannot be had with --search"),
    "quantization-aware": (("--search", 2, "--qat"), "--qat: cannot be had with --search"),
    "ranges without a search": (("--space", "lr0"), "--space: ranges of a search, which was not asked for"),
    "an unknown range": (("--search", 2, "--space", "bxo"), "Did you mean box"),
    "no trials": (("--search", 0), "0 is not in the range"),
    "a batch that is none": (("--batch", "most"), "'most': expected a number of images from 1, or `auto`"),
    "processes of no engine": (("--processes", 2), "--processes: for --engine ray"),
    "a search by Ray": (("--engine", "ray", "--search", 2), "--search: cannot be had with --engine ray"),
    "quantization-aware by Ray": (("--engine", "ray", "--qat"), "--qat: cannot be had with --engine ray"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_is_written(
    case: str, data: tuple[str, ...], small_weights: Path, tmp_path: Path
) -> None:
    given, said = REFUSED[case]
    code, _, err = edgeyolo("train", small_weights, *data, *given, cwd=tmp_path)
    assert code == 2 and said in err, err
    assert list(tmp_path.iterdir()) == []


def test_other_searches_that_are_refused(
    data: tuple[str, ...], small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = edgeyolo("train", small_weights, *data[:2], "--search", 2, cwd=tmp_path)
    assert code == 2 and "there is no validation data" in err
    code, _, err = edgeyolo("train", "--resume", tmp_path, "--search", 2, cwd=tmp_path)
    assert code == 2 and "there is no search to go on with" in err
    table = ("ablate", "--table", 3, *data, "--batch", "auto", "--model", "yolov7-tiny")
    code, _, err = edgeyolo(*table, cwd=tmp_path)
    assert code == 2 and "compared at one batch size" in err
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = edgeyolo("train", small_weights, *data, "--search", 2, cwd=tmp_path)
    assert code == 2 and "torchrun started several" in err
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = edgeyolo("train", small_weights, *data, *SHORT, "--search", 2, cwd=tmp_path)
    assert code == 3 and "a search needs the package optuna" in err and "[search]" in err
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = edgeyolo("train", small_weights, *data, *SHORT, "--engine", "ray", cwd=tmp_path)
    assert code == 3 and "the engine ray needs the package ray" in err and "[ray]" in err
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = edgeyolo("train", small_weights, *data, *SHORT, "--engine", "ray", cwd=tmp_path)
    assert code == 2 and "starts its processes itself" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_batch_that_memory_decides_is_said_and_kept(
    data: tuple[str, ...], small_weights: Path, tmp_path: Path
) -> None:
    options = (*data, "--imgsz", 64, "--threads", 1, "--set", "nominal_batch=16", "--epochs", 1, "-o", "run")
    code, _, err = edgeyolo("train", small_weights, *options, "--batch", "auto", cwd=tmp_path)
    assert code == 0, err
    assert "batch 8: a step takes " in err and "limited by the number of pictures" in err
    code, _, err = edgeyolo("train", "--resume", "run", "--epochs", 2, cwd=tmp_path)
    assert code == 0, err
    assert "a step takes" not in err
    assert read_facts(tmp_path / "run" / STATE)["config"]["batch_size"] == 8


def test_the_table_holds_at_80_columns(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names = ("weight_decay", "mosaic", "momentum", "translate", "hsv_h", "scale", "lr0")
    tried = [SimpleNamespace(state="complete", number=100 + i, ap=0.5, values=dict.fromkeys(names, 0.000123456))
             for i in range(7)]  # fmt: skip
    outcome = SimpleNamespace(tried=tried, best=None, plan=None, importance=dict.fromkeys(names, 1 / 7))
    report_search(tmp_path, outcome, as_json=False)  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    assert max(map(len, out.splitlines())) <= 80
    assert "translate" in out and "hsv_h" not in out
    assert "of 7 hyper-parameters those that mattered most" in err
