"""trtexec: the script gives each version of TensorRT the flags of build.json."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.recipe import write_recipe

TRTEXEC = """#!/bin/sh
echo "&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] # trtexec $*"
[ "$1" = --help ] && exit 0
echo "$*" > "{said}"
for word in "$@"; do case $word in --saveEngine=*) echo engine > "${{word#*=}}";; esac; done
exit {code}
"""


def build(folder: Path, number: int, said: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    tool = said.with_name(f"trtexec-{number}")
    tool.write_text(TRTEXEC.format(number=number, said=said, code=code))
    tool.chmod(0o755)
    return subprocess.run(
        [folder / "build.sh"],
        env={"PATH": "/usr/bin:/bin", "TRTEXEC": str(tool)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("number", "key"), [(8502, "8"), (8601, "8"), (9300, "8"), (100300, "10"), (101303, "10"), (110000, "11")]
)
def test_each_version_gets_its_flags(
    number: int, key: str, exported: Callable[..., Artifact], tmp_path: Path
) -> None:
    artifact = exported("gpu-trt-fp16", dynamic=True)
    folder = write_recipe(artifact, "trtexec", tmp_path / "recipe")
    done = build(folder, number, tmp_path / "said")
    assert done.returncode == 0, done.stderr
    command = json.loads((artifact.path / "build.json").read_text())["trtexec"][key]
    engine = folder / "model.engine"
    said = (tmp_path / "said").read_text().strip().replace(f"{engine}.new", "model.engine")
    assert f"trtexec {said}" == command and "--minShapes=images:1x3x" in said
    assert engine.read_text() == "engine\n"
    assert not list(folder.glob("*.new"))


def test_other_versions_and_failures_leave_no_engine(
    exported: Callable[..., Artifact], tmp_path: Path
) -> None:
    folder = write_recipe(exported("gpu-trt-fp16", dynamic=True), "trtexec", tmp_path / "recipe")
    old = build(folder, 7234, tmp_path / "said")
    assert old.returncode == 3 and "TensorRT 7 is not known" in old.stderr
    assert build(folder, 100300, tmp_path / "said", code=1).returncode == 1
    assert not (folder / "model.engine").exists()
