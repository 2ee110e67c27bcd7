"""Equal inputs give equal artifacts, to the last byte: files, golden vectors, manifest; in another process as well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.errors import RuntimeMissingError
from edgeyolo.export import ExportOptions, export

QUICK = ("cpu-onnx-fp32", "cpu-openvino-fp16", "cpu-tflite-fp32")


def possible(targets: tuple[str, ...]) -> list[str]:
    found = [target for target in targets if registry.find_target(target)[1].can_compile().ok]
    if not found:
        pytest.skip(f"none of the toolchains of {', '.join(targets)} is installed")
    return found


@pytest.mark.slow
def test_in_another_process(small_weights: Path, tmp_path: Path) -> None:
    targets = possible(QUICK)
    command = [
        sys.executable, "-c", "from edgeyolo.cli import main; main()", "export", str(small_weights),
        "--target", ",".join(targets), "-o", str(tmp_path / "other"),
    ]  # fmt: skip
    environment = os.environ | {"PYTHONHASHSEED": "4711"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for target in targets:
        here = export(small_weights, target, tmp_path / "here" / target)
        other = tmp_path / "other" / target if len(targets) > 1 else tmp_path / "other"
        assert Artifact.open(other).manifest.files == here.manifest.files
        assert (other / "manifest.json").read_bytes() == (here.path / "manifest.json").read_bytes()


@pytest.mark.own_trace
def test_the_trace(small_weights: Path, tmp_path: Path) -> None:
    """Traced twice in one process, where the other tests of this file share what was traced once."""
    one, other = (export(small_weights, QUICK[0], tmp_path / name) for name in ("one", "other"))
    assert one.manifest.files == other.manifest.files


@pytest.mark.slow
@pytest.mark.parametrize("target", [str(profile.target) for profile, _ in registry.profiles()])
def test_same_bytes_for_every_target(
    target: str, small_weights: Path, calibration: CalibrationSource, tmp_path: Path
) -> None:
    options = ExportOptions(calibration=calibration)
    try:
        one, other = (export(small_weights, target, tmp_path / name, options) for name in ("one", "other"))
    except RuntimeMissingError as error:
        pytest.skip(f"{target}: {error.message}")
    assert one.manifest.files == other.manifest.files
    assert one.sha256 == other.sha256
