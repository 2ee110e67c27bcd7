"""`bench --table --weights-folder`: which files are taken for which rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeyolo.errors import UsageError
from edgeyolo_bench.paper.paper_options import tables_asked, weights_in


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_files_are_found_by_the_networks_names(tmp_path: Path) -> None:
    put(
        tmp_path,
        "yolov7.pt",
        "yolor-csp.pth",
        "yolov7-w6.safetensors",
        "yolov7-w6.pt",
        "yolov7x/manifest.json",
    )
    put(tmp_path, "resnet.pt", "yolov7-e6/notes.txt")
    found = weights_in(tmp_path, (2,))
    assert {name: path.name for name, path in found.items()} == {
        "yolov7": "yolov7.pt", "yolor-csp": "yolor-csp.pth", "yolov7-w6": "yolov7-w6.safetensors", "yolov7x": "yolov7x",
    }  # fmt: skip
    assert list(weights_in(tmp_path, (2,), ("yolov7",))) == ["yolov7"]


def test_only_what_there_are_weights_of_is_measured(tmp_path: Path) -> None:
    put(tmp_path / "a", "yolov7.pt", "yolov7x.pt")
    put(tmp_path, "best.pt")
    asked = tables_asked(("2",), False, None, None, (f"yolov7={tmp_path / 'best.pt'}",), tmp_path / "a")
    assert asked is not None and set(asked.networks) == {"yolov7", "yolov7x"}
    assert asked.weights["yolov7"].name == "best.pt" and asked.weights["yolov7x"].name == "yolov7x.pt"


def test_a_folder_without_any(tmp_path: Path) -> None:
    put(tmp_path, "best.pt")
    with pytest.raises(UsageError, match="no weights of a network"):
        weights_in(tmp_path, (2,))
    with pytest.raises(UsageError, match="--weights-folder goes with --table"):
        tables_asked((), False, None, None, (), tmp_path)
