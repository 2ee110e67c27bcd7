"""Observation: every tensor once, parts and interruptions without a trace; then quantizers where the rules say."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from edgeyolo.artifact.artifact import Artifact  # noqa: E402
from edgeyolo.artifact.contracts import InputContract  # noqa: E402
from edgeyolo.backend.interface import CalibrationSource  # noqa: E402
from edgeyolo.errors import DamagedFileError, UsageError  # noqa: E402
from edgeyolo_calib.onnx_graph import Graph  # noqa: E402
from edgeyolo_calib.quantize.qdq import quantize  # noqa: E402
from edgeyolo_calib.quantize.rules import ONNXRUNTIME, TENSORRT, Rules, units  # noqa: E402
from edgeyolo_calib.ranges.histogram import Histogram  # noqa: E402
from edgeyolo_calib.ranges.observe import observe  # noqa: E402
from edgeyolo_calib.ranges.ranges import METHODS, Scheme  # noqa: E402
from edgeyolo_calib.ranges.statistics import Statistics  # noqa: E402


@pytest.fixture(scope="module")
def model(small_artifact: Path) -> Path:
    return small_artifact / "model.onnx"


@pytest.fixture(scope="module")
def contract(small_artifact: Path) -> InputContract:
    return Artifact.open(small_artifact).manifest.input


@pytest.fixture(scope="module")
def statistics(model: Path, contract: InputContract, calibration: CalibrationSource) -> Statistics:
    return observe(model, contract, calibration)


def same(one: Statistics, other: Statistics) -> bool:
    return {n: h.to_json() for n, h in one.tensors.items()} == {
        n: h.to_json() for n, h in other.tensors.items()
    }


def test_every_tensor_is_counted_as_the_runtime_gives_it(
    model: Path, contract: InputContract, calibration: CalibrationSource, statistics: Statistics
) -> None:
    exposed = onnx.load(str(model))
    names = [name for node in exposed.graph.node for name in node.output]
    given = {value.name for value in exposed.graph.output}
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    extremes: dict[str, list[float]] = {}
    for batch in calibration.batches(contract):
        for name, values in zip(names, session.run(names, {contract.name: batch}), strict=True):
            extremes.setdefault(name, []).extend((float(values.min()), float(values.max())))
    assert set(names) <= set(statistics.tensors)
    for name, found in extremes.items():
        histogram = statistics.tensors[name]
        assert histogram.low == pytest.approx(min(found), abs=1e-4)
        assert histogram.high == pytest.approx(max(found), abs=1e-4)


def test_small_parts_give_what_one_whole_gives(
    model: Path, contract: InputContract, calibration: CalibrationSource, statistics: Statistics
) -> None:
    parted = observe(model, contract, calibration, limit=100_000)
    assert set(parted.tensors) == set(statistics.tensors)
    for name, histogram in parted.tensors.items():
        # Other parts may fuse other operators: the last bits of a float.
        assert histogram.high == pytest.approx(statistics.tensors[name].high, rel=1e-4, abs=1e-5)


def test_an_interrupted_run_goes_on_and_ends_the_same(  # noqa: PLR0917
    model: Path, contract: InputContract, calibration: CalibrationSource, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, statistics: Statistics,
) -> None:  # fmt: skip
    monkeypatch.setattr("edgeyolo_calib.ranges.observe.SAVE_EVERY_S", -1.0)
    keep = tmp_path / "ranges.json"

    def stop(done: int, _: int | None) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        observe(model, contract, calibration, keep=keep, progress=stop)
    assert 0 < Statistics.load(keep).done < 8
    seen: list[int] = []
    resumed = observe(model, contract, calibration, keep=keep, progress=lambda done, _: seen.append(done))
    assert len(seen) < 8
    assert same(resumed, statistics)
    assert same(observe(model, contract, calibration, keep=keep), statistics)


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import edgeyolo_calib.ranges.observe as module
from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend.registry import open_calibration

module.SAVE_EVERY_S = -1.0
artifact, folder, keep = sys.argv[1:]

def die(done, _):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)

source = open_calibration(folder, images=8)
contract = Artifact.open(artifact).manifest.input
module.observe(Path(artifact) / "model.onnx", contract, source, keep=Path(keep), progress=die)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_run_goes_on_and_ends_the_same(
    small_artifact: Path, contract: InputContract, calibration: CalibrationSource, tmp_path: Path,
    statistics: Statistics,
) -> None:  # fmt: skip
    keep = tmp_path / "ranges.json"
    folder = calibration.paths[0].parent  # type: ignore[attr-defined]
    command = [sys.executable, "-c", KILLED, str(small_artifact), str(folder), str(keep)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert 0 < Statistics.load(keep).done < 8
    seen: list[int] = []
    resumed = observe(
        small_artifact / "model.onnx",
        contract,
        calibration,
        keep=keep,
        progress=lambda done, _: seen.append(done),
    )
    assert 0 < len(seen) < 8
    assert same(resumed, statistics)


def test_ranges_of_something_else_are_refused(
    model: Path, contract: InputContract, calibration: CalibrationSource, tmp_path: Path
) -> None:
    keep = tmp_path / "ranges.json"
    Statistics(Statistics.load(_kept(model, contract, calibration, tmp_path)).origin).save(keep)
    text = keep.read_text().replace('"graph":"', '"graph":"0')
    keep.write_text(text)
    with pytest.raises(UsageError, match="another network"):
        observe(model, contract, calibration, keep=keep)
    keep.write_text("{}")
    with pytest.raises(DamagedFileError, match="schema"):
        observe(model, contract, calibration, keep=keep)


def _kept(model: Path, contract: InputContract, calibration: CalibrationSource, folder: Path) -> Path:
    observe(model, contract, calibration, keep=folder / "first.json")
    return folder / "first.json"


@pytest.mark.parametrize("rules", [ONNXRUNTIME, TENSORRT], ids=lambda rules: rules.name)
@pytest.mark.parametrize("method", METHODS)
def test_the_quantized_graph_stays_near_the_float_one(  # noqa: PLR0917
    model: Path, contract: InputContract, calibration: CalibrationSource, statistics: Statistics,
    rules: Rules, method: str,
) -> None:  # fmt: skip
    made = quantize(onnx.load(str(model)), statistics, rules, Scheme(method))  # type: ignore[arg-type]
    assert _deviation(made.model, model, contract, calibration) < 0.3


@pytest.mark.parametrize("rules", [ONNXRUNTIME, TENSORRT], ids=lambda rules: rules.name)
def test_layers_kept_in_float_have_no_quantizers_and_lose_less(
    model: Path, contract: InputContract, calibration: CalibrationSource, statistics: Statistics, rules: Rules
) -> None:
    source = onnx.load(str(model))
    whole = quantize(source, statistics, rules)
    every = [unit.output for unit in units(Graph(source))]
    none = quantize(source, statistics, rules, floats=every)
    assert set(none.placement.nodes) < set(whole.placement.nodes)
    exact = _deviation(none.model, model, contract, calibration)
    assert exact < 0.1 * _deviation(whole.model, model, contract, calibration)


def test_ranges_that_lack_a_tensor_are_refused(model: Path, statistics: Statistics) -> None:
    fewer = Statistics(statistics.origin, dict(list(statistics.tensors.items())[:3]), 8, True)
    with pytest.raises(UsageError, match="lack"):
        quantize(onnx.load(str(model)), fewer, TENSORRT)


def test_tensors_of_one_scale_cover_all_of_their_values(model: Path, statistics: Statistics) -> None:
    made = quantize(onnx.load(str(model)), statistics, TENSORRT, Scheme("minmax"))
    groups: dict[str, list[str]] = {}
    for name, group in made.placement.tensors.items():
        groups.setdefault(group, []).append(name)
    shared = [names for names in groups.values() if len(names) > 1]
    assert shared
    for names in shared:
        together = Histogram()
        for name in names:
            together.merge(statistics.tensors[name])
        assert {made.ranges[name] for name in names} == {made.ranges[names[0]]}
        assert made.ranges[names[0]][1] >= together.high - 1e-6


def _deviation(
    changed: onnx.ModelProto, model: Path, contract: InputContract, calibration: CalibrationSource
) -> float:
    """The largest difference of any raw map, relative to its largest value."""
    sessions = [
        ort.InferenceSession(data, providers=["CPUExecutionProvider"])
        for data in (model.read_bytes(), changed.SerializeToString())
    ]
    worst = 0.0
    for batch in calibration.batches(contract):
        exact, rounded = (session.run(None, {contract.name: batch}) for session in sessions)
        for one, other in zip(exact, rounded, strict=True):
            worst = max(worst, float(np.abs(one - other).max() / np.abs(one).max()))
    return worst


def test_files_that_say_how_weights_were_rounded_are_read(statistics: Statistics, tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    replace(statistics, scheme=Scheme("entropy")).save(path)
    data = json.loads(path.read_text())
    data["scheme"]["weights"] = "mse"
    path.write_text(json.dumps(data))
    assert Statistics.load(path).scheme == Scheme("entropy")
