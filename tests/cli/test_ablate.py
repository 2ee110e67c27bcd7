"""`edgeyolo ablate` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from edgeyolo.datasets.scenes import write_dataset

from .in_process import edgeyolo


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("scenes")
    train = write_dataset(folder / "train", range(1000, 1004), (64, 64))
    val = write_dataset(folder / "val", range(2), (64, 64))
    return "--data", str(train), "--val-data", str(val)


def test_one_command_trains_the_rows_and_prints_the_table(data: tuple[str, ...], tmp_path: Path) -> None:
    options = (
        "--model",
        "yolov7-tiny",
        "--width",
        0.125,
        "--imgsz",
        32,
        "--epochs",
        1,
        "--batch",
        4,
        "--threads",
        1,
    )
    code, out, err = edgeyolo("ablate", "--table", 7, *options, *data, cwd=tmp_path)
    assert code == 0, err
    printed = " ".join(out.split())
    for words in ("base", "aux without constraint", "aux with constraint", "55.60", "+0.30"):
        assert words in printed, words
    assert "One run a row" in err
    assert (tmp_path / "runs/ablate/exp/ablation.json").is_file()
    code, out, err = edgeyolo(
        "ablate", "--table", 7, *options, *data, "-o", "runs/ablate/exp", "--json", cwd=tmp_path
    )
    assert code == 0, err
    result = json.loads(out)
    assert [row["name"] for row in result["rows"]] == [
        "base",
        "aux without constraint",
        "aux with constraint",
    ]
    assert all(len(row["ap"]) == 1 for row in result["rows"])
    assert "epoch 1/1" not in err  # every row was found finished


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("--table", "9"), "9 is not in the range"),
        (("--table", "6", "--model", "yolov9"), "yolov9"),
        (("--table", "4", "--model", "yolov7-tiny"), "no choice of place"),
        (("--table", "8", "--model", "yolov7"), "E-ELAN"),
        (("--table", "6", "--width", "0"), "0"),
        (("--table", "6", "--no-such"), "--no-such"),
    ],
)
def test_refused(given: tuple[str, ...], expected: str, data: tuple[str, ...], tmp_path: Path) -> None:
    code, out, err = edgeyolo("ablate", *given, *data, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert expected in err
    assert not (tmp_path / "runs/ablate/exp").exists()


def test_validation_data_is_needed(data: tuple[str, ...], tmp_path: Path) -> None:
    code, _, err = edgeyolo("ablate", "--table", "6", *data[:2], cwd=tmp_path)
    assert code == 2
    assert "needs validation data" in err
    assert not (tmp_path / "runs").exists()
