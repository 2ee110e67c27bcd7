"""`edgeyolo build`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tensorrt_fakes.machine import FakeGpu
from tensorrt_fakes.plan import Plan
from tensorrt_fakes.scenario import Install, Package

from edgeyolo.cli import cli
from edgeyolo.errors import EdgeYoloError, GateError


def edgeyolo(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, [str(each) for each in arguments])
    code = result.exception.exit_code if isinstance(result.exception, EdgeYoloError) else result.exit_code
    return code, result.stdout, f"{result.stderr}{result.exception or ''}"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command settles its options in the environment; they end with the test."""
    for name in ("DEVICE", "DLA", "WORKSPACE"):
        monkeypatch.setenv(f"EDGEYOLO_TENSORRT_{name}", "")


@pytest.mark.usefixtures("environment")
def test_build_prints_what_it_built_and_compares_it_with_the_golden_vectors(
    device: Install, package: Package
) -> None:
    device()
    code, printed, _ = edgeyolo("build", package().path, "--json")
    facts = json.loads(printed)
    assert code == 0
    assert Path(facts["engine"]).is_file()
    assert (facts["reused"], facts["tensorrt"], facts["gpu"]) == (False, "10.3.0", "Orin")
    assert 0.0 <= facts["deviation"] < 1e-4
    code, printed, _ = edgeyolo("build", package().path)
    assert code == 0
    assert "was there" in printed
    assert "Orin" in printed


@pytest.mark.usefixtures("environment")
def test_build_copies_the_engine_where_it_is_asked_for(
    device: Install, package: Package, tmp_path: Path
) -> None:
    device()
    code, printed, _ = edgeyolo(
        "build", package().path, "-o", tmp_path / "out/tiny.engine", "--no-verify", "--json"
    )
    facts = json.loads(printed)
    assert (code, facts["deviation"]) == (0, None)
    assert (tmp_path / "out/tiny.engine").read_bytes()[:4] == b"ftrt"


@pytest.mark.usefixtures("environment")
def test_build_takes_options_and_hands_them_on(device: Install, package: Package) -> None:
    machine = device(FakeGpu("Orin A"), FakeGpu("Orin B"))
    code, _, said = edgeyolo("build", package().path, "--device", 1, "--dla", 0, "--workspace", 64)
    assert code == 0
    assert "set EDGEYOLO_TENSORRT_DLA=0" in said
    built = [event for event in machine.events if event.startswith("built")]
    assert built == [f"built with ['FP16', 'GPU_FALLBACK'] {{'WORKSPACE': {64 << 20}}}"]
    assert os.environ["EDGEYOLO_TENSORRT_DEVICE"] == "1"


@pytest.mark.usefixtures("environment")
def test_an_engine_that_computes_something_else_is_an_error(
    device: Install, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    device()
    original = Plan.compute

    def worse(self: Plan, name: str, data: bytes, shape: tuple[int, ...]) -> dict[str, bytes]:
        return {
            item: (np.frombuffer(each, np.float32) * np.float32(1.5)).tobytes()
            for item, each in original(self, name, data, shape).items()
        }

    monkeypatch.setattr(Plan, "compute", worse)
    code, _, said = edgeyolo("build", package().path)
    assert code == GateError.exit_code
    assert "golden vectors are missed" in said


@pytest.mark.usefixtures("environment")
def test_build_says_what_it_is_not_for(device: Install, small_artifact: Path, package: Package) -> None:
    device()
    code, _, said = edgeyolo("build", small_artifact)
    assert code == 2
    assert "cpu-onnx-fp32, which needs no building" in said
    device(tensorrt=None)
    code, _, said = edgeyolo("build", package().path)
    assert code == 3
    assert "tensorrt is not installed" in said
