"""Devices, specs and variables on the command line."""

from __future__ import annotations

import io
import json
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import cv2
import pytest

from edgeyolo.datasets.scenes import make_scene


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run the command line in this process and the test's folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path / "cache"))

    def command(*arguments: object) -> tuple[int, str, str]:
        from edgeyolo.cli import main

        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "argv", ["edgeyolo", *map(str, arguments)])
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out.getvalue(), err.getvalue()

    return command


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), make_scene(1, (120, 160)).image)
    return path


def test_an_artifact_explains_itself(run, small_artifact: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("detect", small_artifact, "--explain")
    assert code == 0
    assert "cpu-onnx-fp32: it is an artifact" in out
    code, out, _ = run("detect", small_artifact, "--explain", "--json", "--device", "cpu")
    assert json.loads(out)["target"] == "cpu-onnx-fp32"


def test_devices_that_do_not_fit(run, small_artifact: Path, photo: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run("detect", small_artifact, photo, "--device", "tpu:1")
    assert (code, out) == (2, "")
    assert "for the device cpu" in err
    code, _, err = run("val", small_artifact, "--data", "nowhere", "--device", "warp")
    assert code != 0
    code, _, err = run("detect", small_artifact, photo, "--device", "cuuda")
    assert code == 2
    assert "Did you mean cuda" in err


def test_an_option_comes_before_its_variable(  # type: ignore[no-untyped-def]
    run, small_artifact: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEYOLO_DEVICE", "tpu")
    code, _, err = run("detect", small_artifact, photo)
    assert code == 2
    assert "EDGEYOLO_DEVICE is set" in err
    code, _, err = run("detect", small_artifact, photo, "--device", "cpu", "--no-save")
    assert code == 0, err


def test_foreign_files(run, small_artifact: Path, photo: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    shutil.copy(small_artifact / "model.onnx", tmp_path / "m.onnx")
    code, out, err = run("detect", "m.onnx", photo)
    assert (code, out) == (2, "")
    assert "edgeyolo adopt m.onnx --spec spec.json" in err
    code, out, err = run("adopt", "m.onnx", "--template")
    assert code == 0
    assert "3 raw head maps" in err
    assert json.loads(out)["output"]["strides"] == [8, 16, 32]
    manifest = json.loads((small_artifact / "manifest.json").read_text())
    spec = {name: manifest[name] for name in ("class_names", "input", "output")}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    code, out, _ = run("detect", "m.onnx", photo, "--spec", "spec.json", "--json")
    assert code == 0
    assert json.loads(out)[0]["detections"]
    code, out, err = run("adopt", "m.onnx", "--spec", "spec.json", "-o", "made", "--json")
    assert code == 0, err
    assert json.loads(out)["target"] == "cpu-onnx-fp32"
    assert run("verify", "made")[0] == 0
    assert run("adopt", "m.onnx", "--spec", "spec.json")[0] == 2


def test_variables(run, small_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("EDGEYOLO_DEVCE", "cpu")
    code, out, err = run("doctor", "--variables")
    assert code == 0
    assert "warning: the environment variable EDGEYOLO_DEVCE is not one" in err
    assert "did you mean EDGEYOLO_DEVICE?" in err
    assert "EDGEYOLO_TENSORRT_DLA" in out
    assert "unknown: nothing reads it" in out
    report = json.loads(run("doctor", "--json")[1])
    named = {item["name"]: item["value"] for item in report["environment"]}
    assert named["EDGEYOLO_DEVCE"] == "cpu"
    assert named["EDGEYOLO_TARGET"] == ""
