"""The variables that edgeyolo reads: all in one place, slips noticed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeyolo.backend import variables
from edgeyolo.errors import UsageError
from edgeyolo.support import environment

ROOT = Path(__file__).parents[2]


def test_every_variable_that_the_source_names_is_known() -> None:
    known = variables.known()
    named: dict[str, str] = {}
    for folder in ("edgeyolo", "backends", "calib", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for name in re.findall(r"EDGEYOLO_[A-Z0-9]+(?:_[A-Z0-9]+)*\b(?!_)", path.read_text()):
                named[name] = path.name
    prefixes = ("EDGEYOLO_TENSORRT", "EDGEYOLO_OPENVINO")  # of several, as prose names them
    missing = {name: file for name, file in named.items() if name not in known and name not in prefixes}
    assert not missing, "write them into edgeyolo.support.environment.VARIABLES, or the backend's `variables`"
    assert len(named) > 10


def test_backends_add_theirs() -> None:
    known = variables.known()
    assert "EDGEYOLO_OPENVINO_HINT" in known
    assert "EDGEYOLO_TENSORRT_GRAPH" in known
    assert all(known.values())


def test_a_slip_is_noticed_with_what_was_meant() -> None:
    (complaint,) = variables.complaints({"EDGEYOLO_TAGRET": "cpu-onnx-fp32", "PATH": "/bin"})
    assert "EDGEYOLO_TAGRET" in complaint
    assert "did you mean EDGEYOLO_TARGET?" in complaint
    (complaint,) = variables.complaints({"EDGEYOLO_OPENVINO_HINTS": "latency"})
    assert "did you mean EDGEYOLO_OPENVINO_HINT?" in complaint
    (complaint,) = variables.complaints({"EDGEYOLO_XYZZY_Q": "1"})
    assert "doctor --variables" in complaint


def test_the_known_ones_are_no_reason_to_complain() -> None:
    assert variables.complaints(dict.fromkeys(variables.known(), "1")) == []


def test_values_are_checked() -> None:
    assert environment.threads({"EDGEYOLO_THREADS": " 3 "}) == 3
    assert environment.threads({}) is None
    assert environment.target({"EDGEYOLO_TARGET": ""}) is None
    assert environment.measures({})
    assert not environment.measures({"EDGEYOLO_MEASURE": "0"})
    for wrong in ("0", "two", "-1", "1.5"):
        with pytest.raises(UsageError, match="EDGEYOLO_THREADS"):
            environment.threads({"EDGEYOLO_THREADS": wrong})
    with pytest.raises(UsageError, match="EDGEYOLO_MEASURE"):
        environment.measures({"EDGEYOLO_MEASURE": "no"})


def test_a_detector_warns(monkeypatch: pytest.MonkeyPatch, small_artifact: Path) -> None:
    from edgeyolo import Detector

    monkeypatch.setenv("EDGEYOLO_THREAD", "1")
    with pytest.warns(variables.UnknownVariableWarning, match="EDGEYOLO_THREADS") as caught:
        Detector(small_artifact).close()
    assert caught[0].filename == __file__
