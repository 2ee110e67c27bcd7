"""NNCF's choices: preset, layers in float, accuracy control."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the export extra")
ov = pytest.importorskip("openvino")
pytest.importorskip("nncf")

from edgeyolo.artifact.contracts import InputContract, RawMaps  # noqa: E402
from edgeyolo.backend.interface import CalibrationSource  # noqa: E402
from edgeyolo.backend.quantizer_options import QuantizerOptions  # noqa: E402
from edgeyolo.datasets import load_dataset  # noqa: E402
from edgeyolo.datasets.scenes import write_dataset  # noqa: E402
from edgeyolo.errors import UsageError  # noqa: E402
from edgeyolo.export import ExportOptions, export  # noqa: E402
from edgeyolo.export.ap_judge import ApJudge, judge_for  # noqa: E402
from edgeyolo_openvino.quantize import head_convolutions, quantize  # noqa: E402

CONTRACT = InputContract(96, 96)


@pytest.fixture
def model(small_artifact: Path) -> Any:
    return ov.Core().read_model(str(small_artifact / "model.onnx"))


def test_its_use_is_reported_to_nobody(
    model: Any, calibration: CalibrationSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NNCF reports to Intel but under pytest, so another process says what it would do."""
    monkeypatch.setenv("NNCF_CI", "before")
    monkeypatch.delenv("NNCF_CI")
    quantize(model, CONTRACT, calibration, QuantizerOptions())
    asked = "from nncf.telemetry import wrapper; print(type(wrapper.telemetry).__name__)"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "MagicMock"
    monkeypatch.delenv("NNCF_CI")
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "NNCFTelemetry"  # otherwise the line above says nothing


def of_kind(model: Any, kind: str) -> list[Any]:
    return [node for node in model.get_ordered_ops() if node.get_type_name() == kind]


def in_integers(model: Any) -> set[str]:
    """Convolutions whose weights are quantized."""
    return {
        node.get_friendly_name()
        for node in of_kind(model, "Convolution")
        if node.input_value(1).get_node().get_type_name() != "Constant"
    }


def test_heads_stay_in_float_and_so_do_layers_that_are_named(
    model: Any, calibration: CalibrationSource
) -> None:
    heads = head_convolutions(model)
    weights = {
        node.get_friendly_name(): node.input_value(1).get_node().get_friendly_name()
        for node in of_kind(model, "Convolution")
    }
    made = in_integers(quantize(model, CONTRACT, calibration, QuantizerOptions(floats=("backbone.3.elan",))))
    inside = {name for name, weight in weights.items() if weight.startswith("backbone.3.elan.")}
    assert len(heads) == 3
    assert len(inside) == 5
    assert made == set(weights) - set(heads) - inside


def test_performance_has_no_zero_points_mixed_has_some(model: Any, calibration: CalibrationSource) -> None:
    def skewed(preset: Any) -> int:
        made = of_kind(
            quantize(model.clone(), CONTRACT, calibration, QuantizerOptions(preset)), "FakeQuantize"
        )
        activations = [node for node in made if node.input_value(0).get_node().get_type_name() != "Constant"]
        ends = [
            [float(np.ravel(node.input_value(i).get_node().data)[0]) for i in (1, 2)] for node in activations
        ]
        return sum(low < 0 and not 0.9 < -low / high < 1.1 for low, high in ends)

    assert skewed("performance") == 0
    assert skewed("mixed") > 10  # SiLU reaches down to -0.28 only


def test_a_layer_that_is_not_there_is_named_with_those_that_are(
    model: Any, calibration: CalibrationSource
) -> None:
    with pytest.raises(UsageError, match="neck") as error:
        quantize(model, CONTRACT, calibration, QuantizerOptions(floats=("neck",)))
    assert "backbone" in str(error.value)


class Recorded(ApJudge):
    """Says what the list says, and remembers which images it was asked about."""

    def __call__(self, session: Any, contract: InputContract, images: Sequence[int]) -> float:
        ASKED.append(list(images))
        maps = session.run(np.zeros(contract.shape(), np.float32))
        assert {name: maps[name].ndim for name in self.output.names} == dict.fromkeys(self.output.names, 4)
        return 0.5


ASKED: list[list[int]] = []


@pytest.fixture
def judge(small_artifact: Path, tmp_path: Path) -> Iterator[ApJudge]:
    from edgeyolo.artifact.artifact import Artifact

    manifest = Artifact.open(small_artifact).manifest
    data = load_dataset(write_dataset(tmp_path, range(3), (96, 96)))
    assert isinstance(manifest.output, RawMaps)
    ASKED.clear()
    yield Recorded(manifest.output, manifest.class_names, data, 1.0)


def test_the_judge_is_asked_about_the_float_and_the_integer_model(
    model: Any, calibration: CalibrationSource, judge: ApJudge
) -> None:
    made = quantize(model, CONTRACT, calibration, judge=judge)
    assert ASKED.count([0, 1, 2]) >= 2  # besides, NNCF tries it on one image first
    assert len(in_integers(made)) > 10


def test_awareness_needs_labelled_images(
    small_weights: Path, calibration: CalibrationSource, judge: ApJudge, tmp_path: Path
) -> None:
    options = ExportOptions(calibration=calibration, quantizer=QuantizerOptions(accuracy_aware=True))
    with pytest.raises(UsageError, match="aware of AP that it can measure"):
        export(small_weights, "cpu-openvino-int8", tmp_path / "made", options)
    assert judge_for(options.quantizer, judge.output, judge.class_names, judge.data, 1.0) is not None
    assert judge_for(QuantizerOptions(), judge.output, judge.class_names, judge.data, 1.0) is None
