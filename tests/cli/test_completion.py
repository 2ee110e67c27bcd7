"""Shell completion, asked for as click's generated scripts ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeyolo.backend import registry
from edgeyolo.models.specs import names


def complete(words: str, cwd: Path, shell: str = "bash") -> list[str]:
    """The words offered for the last word of the line, without their kind."""
    parts = words.split(" ")
    asked = {"COMP_WORDS": words, "COMP_CWORD": parts[-1] if shell == "fish" else str(len(parts) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", "from edgeyolo.cli import cli; cli(prog_name='edgeyolo')"],
        env=os.environ | asked | {"_EDGEYOLO_COMPLETE": f"{shell}_complete"},
        cwd=cwd, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def plain(*values: str) -> list[str]:
    return [f"plain,{value}" for value in values]


def test_commands_and_options(tmp_path: Path) -> None:
    assert complete("edgeyolo ex", tmp_path) == plain("export")
    assert complete("edgeyolo cali", tmp_path) == plain("calibrate")  # another distribution's entry point
    assert "plain,--dry-run" in complete("edgeyolo export --", tmp_path)


@pytest.mark.parametrize("command", ["export x", "check x", "detect", "val x", "calibrate x", "bench"])
def test_targets(command: str, tmp_path: Path) -> None:
    assert complete(f"edgeyolo {command} --target jetson", tmp_path) == plain(
        "jetson-trt-fp32", "jetson-trt-fp16", "jetson-trt-int8"
    )


def test_every_target_is_offered(tmp_path: Path) -> None:
    known = [str(profile.target) for profile, _ in registry.profiles()]
    assert complete("edgeyolo export x --target ", tmp_path) == plain(*known)


def test_the_next_target_after_a_comma_is_one_not_given_yet(tmp_path: Path) -> None:
    assert complete("edgeyolo check x --target jetson-trt-fp16,jetson", tmp_path) == plain(
        "jetson-trt-fp16,jetson-trt-fp32", "jetson-trt-fp16,jetson-trt-int8"
    )


@pytest.mark.parametrize(
    "command", ["export", "check", "detect", "val", "train", "calibrate", "bench", "ablate --model"]
)
def test_networks_and_files_of_the_same_beginning(command: str, tmp_path: Path) -> None:
    (tmp_path / "yolov7-onnx").mkdir()
    offered = complete(f"edgeyolo {command} yolo", tmp_path)
    assert offered == plain(*names(), "yolov7-onnx")
    assert complete(f"edgeyolo {command} bui", tmp_path) == plain("builtin")


def test_anything_else_is_a_file(tmp_path: Path) -> None:
    assert complete("edgeyolo detect ce", tmp_path) == ["file,ce"]
    assert complete("edgeyolo detect ", tmp_path) == ["file,"]


def test_a_target_says_what_it_is_where_the_shell_shows_it(tmp_path: Path) -> None:
    offered = complete("edgeyolo export x --target edgetpu", tmp_path, shell="zsh")
    assert offered[:2] == ["plain", "edgetpu-tflite-int8"]
    assert offered[2].startswith("Coral edge TPU")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_to_source_is_printed(shell: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from edgeyolo.cli import cli; cli(prog_name='edgeyolo')"],
        env=os.environ | {"_EDGEYOLO_COMPLETE": f"{shell}_source"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Bash version" in done.stderr:
        pytest.skip("needs bash 4.4")
    assert "_EDGEYOLO_COMPLETE" in done.stdout
    assert f"{shell}_complete" in done.stdout
