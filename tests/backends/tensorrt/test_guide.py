"""Guides in TensorRT packages: a README with the lines to run, and a script that needs no Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgeyolo_tensorrt.package.guide import readme, script
from edgeyolo_tensorrt.package.recipe import Recipe

RECIPE = Recipe("jetson-trt-fp16", "fp16", ("float16",), "images", (3, 96, 96), (1, 1, 8))
TRTEXEC = """#!/bin/sh
if [ "$1" = --help ]; then echo "&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] # trtexec --help"; exit 0; fi
for word in "$@"; do echo "$word"; done
"""


def test_the_readme_says_what_to_copy_and_to_run() -> None:
    text = readme(RECIPE)
    assert "edgeyolo build" in text
    assert "sh build.sh" in text
    assert "JetPack 5" in text
    for line in RECIPE.trtexec("../model.engine").values():
        assert line in text


@pytest.mark.parametrize(
    ("number", "types", "expected", "absent"),
    [
        ("8502", ("float16",), "--fp16", "--stronglyTyped"),
        ("8601", ("float16", "int8"), "--int8", "--stronglyTyped"),
        ("100300", ("float16",), "--stronglyTyped", "--fp16"),
        ("100300", ("float16", "float32", "int8"), "--stronglyTyped", "--fp16"),
        ("110401", ("float16", "float32", "int8"), "--noTF32", "--fp16"),
        ("8601", ("float16", "float32", "int8"), "--onnx=model.onnx", "--onnx=typed.onnx"),
        ("100300", ("float16", "float32", "int8"), "--onnx=typed.onnx", "--onnx=model.onnx"),
        ("110401", ("float16", "float32", "int8"), "--onnx=typed.onnx", "--onnx=model.onnx"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell script")
def test_the_script_runs_trtexec_as_its_version_wants(
    tmp_path: Path, number: str, types: tuple[str, ...], expected: str, absent: str
) -> None:
    package = tmp_path / "a package"
    package.mkdir()
    typed = "typed.onnx" if "int8" in types else "model.onnx"
    (package / "build.sh").write_text(script(replace(RECIPE, types=types, typed=typed)))
    tool = tmp_path / "trtexec"
    tool.write_text(TRTEXEC.format(number=number))
    tool.chmod(0o755)
    done = subprocess.run(
        ["sh", str(package / "build.sh")], env={"TRTEXEC": str(tool), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()
    assert expected in words
    assert absent not in words
    assert f"--saveEngine={package}.engine" in words  # beside the package, which holds what was sealed only
    assert "--maxShapes=images:8x3x96x96" in words


@pytest.mark.skipif(shutil.which("trtexec") is not None or sys.platform == "win32", reason="trtexec is here")
def test_without_trtexec_the_script_says_so(tmp_path: Path) -> None:
    (tmp_path / "build.sh").write_text(script(RECIPE))
    done = subprocess.run(
        ["sh", str(tmp_path / "build.sh")],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 3
    assert "libnvinfer-bin" in done.stderr


def test_the_device_s_extra_brings_no_torch() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    asked = " ".join(project["optional-dependencies"]["tensorrt"])
    assert not [word for word in ("torch", "onnx", "edgeyolo[") if word in asked]


def test_an_export_says_what_comes_next_and_how_far_a_batch_goes(small_weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the export extra")
    from click.testing import CliRunner

    from edgeyolo.artifact.artifact import Artifact
    from edgeyolo.cli import cli

    into = tmp_path / "package"
    options = ["--target", "jetson-trt-fp16", "--batch", "dynamic", "--max-batch", "4", "-o", str(into)]
    done = CliRunner().invoke(cli, ["export", str(small_weights), *options])
    assert done.exit_code == 0, done.output
    assert "edgeyolo build package" in done.output
    assert "sh package/build.sh" in done.output
    artifact = Artifact.open(into)
    assert artifact.manifest.input.max_batch == 4
    assert {"README.md", "build.sh"} <= set(artifact.manifest.files)
    assert Recipe.read(into / "build.json").batch == (1, 1, 4)
