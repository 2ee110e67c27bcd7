"""The Neural Compute Stick: what its artifact holds, and the process of OpenVINO 2021.4, real or faked."""

from __future__ import annotations

import _ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.target import Target
from edgeyolo.backend.interface import Backend, ParityBackend
from edgeyolo.errors import (
    DamagedFileError,
    EdgeYoloError,
    RuntimeMissingError,
    UnsupportedTargetError,
    UsageError,
)
from edgeyolo_openvino import OpenvinoNcsBackend
from edgeyolo_openvino.ncs import environment
from edgeyolo_openvino.ncs.half import half_precision
from edgeyolo_openvino.ncs.session import LegacySession, convert, query

if TYPE_CHECKING:
    from edgeyolo.export.source import NetworkSource

pytest.importorskip("openvino", reason="needs the openvino extra")
onnx = pytest.importorskip("onnx", reason="needs the export extra")

Make = Callable[[Backend, str, Path], Artifact]
TARGET = "ncs-openvino-fp16"

# OpenVINO 2021.4 as the script sees it. It keeps the order: no reading before the engine, no inference before a load,
# float32 ports asked for before the load, bfloat16 off. A "network" is a JSON file; its output is the input's mean.
FAKE_ENGINE = """
import json, os, pathlib
import numpy as np
def get_version(): return "2021.4.2-fake"
class Port: precision = "FP16"
class Network:
    def __init__(self, layers):
        self.layers, self.input_info, self.outputs = layers, {"images": Port()}, {"p3": Port(), "p4": Port()}
    def serialize(self, xml, weights):
        pathlib.Path(xml).write_text(json.dumps(self.layers)); pathlib.Path(weights).write_bytes(b"weights")
class Executable:
    def infer(self, inputs):
        (values,) = inputs.values()
        if values.max() > 1: raise RuntimeError("input out of range")
        if values.min() < 0: os.abort()
        return {"p4": values[:, :, ::2, ::2] * 2, "p3": values.mean(keepdims=True)}
class IECore:
    bfloat16 = True
    def set_config(self, values, device): self.bfloat16 = (values, device) != ({"ENFORCE_BF16": "NO"}, "CPU")
    def read_network(self, path, weights=""):
        text = pathlib.Path(path).read_bytes()
        if path.endswith(".xml"):
            weights = weights or path[:-3] + "bin"
            assert pathlib.Path(weights).read_bytes() == b"weights", "bad weights"
            return Network(json.loads(text))
        return Network(["conv", "sigmoid", "concat"])
    def query_network(self, network, device):
        assert device == "MYRIAD"
        refused = os.environ.get("FAKE_REFUSED", "").split(",")
        return {name: device for name in network.layers if name not in refused}
    def load_network(self, network, device):
        assert device == "CPU" and not self.bfloat16
        assert {port.precision for port in [*network.input_info.values(), *network.outputs.values()]} == {"FP32"}
        return Executable()
"""
FAKE_NGRAPH = """
class Node:
    def __init__(self, name): self.name = name
    def get_friendly_name(self): return self.name
    def get_type_name(self): return "Result" if self.name == "result" else self.name.title()
class Function:
    def __init__(self, layers): self.layers = layers
    def get_ordered_ops(self): return [Node(name) for name in [*self.layers, "result"]]
def function_from_cnn(network): return Function(network.layers)
"""


@pytest.fixture
def legacy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interpreter that finds a fake OpenVINO 2021.4."""
    site = tmp_path / "site"
    for name in ("openvino", "libusb_package"):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").touch()
    (site / "openvino" / "inference_engine.py").write_text(FAKE_ENGINE)
    (site / "ngraph.py").write_text(FAKE_NGRAPH)
    # Any shared library will do for one that is only loaded.
    shutil.copy(_ctypes.__file__, site / "libusb_package" / "libusb-1.0.so")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("EDGEYOLO_NCS_PYTHON", sys.executable)
    return Path(sys.executable)


@pytest.fixture
def without_legacy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEYOLO_NCS_PYTHON", "none")


def test_without_2021_the_artifact_is_old_onnx_and_says_so(
    without_legacy: None, make: Make, tmp_path: Path, batch: np.ndarray
) -> None:
    artifact = make(OpenvinoNcsBackend(), TARGET, tmp_path / "ncs")
    assert list(artifact.manifest.files) == ["model.onnx"]
    assert artifact.manifest.tools["openvino (legacy)"].startswith("absent: model.onnx only")
    model = onnx.load(artifact.path / "model.onnx")
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 13)]
    assert model.ir_version <= 7
    shapes = [[side.dim_value for side in port.type.tensor_type.shape.dim] for port in model.graph.output]
    assert shapes == [[1, 24, 12, 12], [1, 24, 6, 6], [1, 24, 3, 3]]  # raw maps, nothing decoded
    assert "NonMaxSuppression" not in {node.op_type for node in model.graph.node}


def test_without_2021_todays_openvino_stands_in(
    without_legacy: None, make: Make, tmp_path: Path, batch: np.ndarray, source: NetworkSource
) -> None:
    import torch

    backend = OpenvinoNcsBackend()
    assert isinstance(backend, ParityBackend)
    assert backend.parity_runtime == "OpenVINO's CPU plugin with model.onnx"
    artifact = make(backend, TARGET, tmp_path / "ncs")
    with torch.inference_mode():
        expected = [each.numpy() for each in source.network(torch.from_numpy(batch))]
    with closing(backend.open_for_parity(artifact)) as session:
        found = session.run(batch)
    for name, want in zip(("p3", "p4", "p5"), expected, strict=True):
        assert np.abs(found[name] - want).max() < 1e-4 * np.abs(want).max()


def test_the_stick_takes_one_image(source: NetworkSource, tmp_path: Path) -> None:
    four = replace(source, input=replace(source.input, batch=4))
    with pytest.raises(UnsupportedTargetError, match="batch of 4; the stick takes one"):
        OpenvinoNcsBackend().compile(four, Target.parse(TARGET), tmp_path)
    assert not list(tmp_path.iterdir())


def test_on_its_host_the_file_for_the_stick_comes_first(
    legacy: Path, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, opened = OpenvinoNcsBackend(), []
    monkeypatch.setattr("edgeyolo_openvino.backend.OpenvinoSession", lambda *given: opened.append(given))
    backend.open(make(backend, TARGET, tmp_path / "both"))
    monkeypatch.setenv("EDGEYOLO_NCS_PYTHON", "none")
    backend.open(make(backend, TARGET, tmp_path / "onnx"))
    assert [given[0].name for given in opened] == ["model.xml", "model.onnx"]
    assert {given[3].device for given in opened} == {"MYRIAD"}


def test_half_precision_reaches_every_tensor_but_the_scales_of_resizing(source: NetworkSource) -> None:
    model = onnx.load_from_string(half_precision(source.onnx(opset=13)))
    scales = {node.input[2] for node in model.graph.node if node.op_type == "Resize"}
    assert scales
    constants = [node for node in model.graph.node if node.op_type == "Constant"]
    types = {each.name: each.data_type for each in model.graph.initializer}
    types |= {node.output[0]: node.attribute[0].t.data_type for node in constants}
    floats = {name for name, kind in types.items() if kind == onnx.TensorProto.FLOAT}
    assert floats <= scales
    ends = [*model.graph.input, *model.graph.output]
    assert {port.type.tensor_type.elem_type for port in ends} == {onnx.TensorProto.FLOAT16}


def test_a_weight_that_float16_cannot_hold_is_refused(source: NetworkSource, tmp_path: Path) -> None:
    model = onnx.load(source.onnx(opset=13))
    weight = next(each for each in model.graph.initializer if each.name.endswith("weight"))
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] = 70000
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, tmp_path / "large.onnx")
    with pytest.raises(UnsupportedTargetError, match=f"{weight.name} holds values beyond 65504"):
        half_precision(tmp_path / "large.onnx")


def test_with_2021_the_artifact_holds_the_format_of_the_stick(
    legacy: Path, make: Make, tmp_path: Path
) -> None:
    backend = OpenvinoNcsBackend()
    assert backend.parity_runtime == "the CPU plugin of OpenVINO 2021.4 with model.xml"
    artifact = make(backend, TARGET, tmp_path / "ncs")
    assert list(artifact.manifest.files) == ["model.bin", "model.onnx", "model.xml"]
    assert artifact.manifest.tools["openvino (legacy)"] == "2021.4.2-fake; MYRIAD takes all 3 layers"


def test_layers_that_the_stick_refuses_stop_the_export(
    legacy: Path, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_REFUSED", "sigmoid,concat")
    with pytest.raises(UnsupportedTargetError, match="refuses 2 of 3 layers: Sigmoid sigmoid, Concat concat"):
        make(OpenvinoNcsBackend(), TARGET, tmp_path / "ncs")


@pytest.fixture
def session(legacy: Path, source: NetworkSource, tmp_path: Path) -> LegacySession:
    (tmp_path / "net.onnx").touch()
    converted = convert(legacy, tmp_path / "net.onnx", tmp_path / "model.xml")
    assert (converted.version, converted.layers, converted.refused) == ("2021.4.2-fake", 3, ())
    output = replace(source.output, names=("p3", "p4"))
    return LegacySession(legacy, tmp_path / "model.xml", source.input, output)


def test_arrays_go_to_the_other_process_and_back(session: LegacySession, batch: np.ndarray) -> None:
    maps = session.run(batch)
    again = session.run(np.asfortranarray(batch))
    assert list(maps) == ["p3", "p4"]
    np.testing.assert_allclose(maps["p3"], batch.mean(keepdims=True), rtol=1e-5)
    np.testing.assert_array_equal(maps["p4"], batch[:, :, ::2, ::2] * 2)
    assert all(np.array_equal(maps[name], again[name]) for name in maps)
    assert all(each.flags.writeable for each in maps.values())
    session.close()


def test_a_failure_there_is_told_here_and_the_next_run_works(
    session: LegacySession, batch: np.ndarray
) -> None:
    with pytest.raises(EdgeYoloError, match="input out of range"):
        session.run(batch + 1)
    assert session.run(batch)["p3"].shape == (1, 1, 1, 1)
    session.close()


def test_a_process_that_dies_is_an_error(session: LegacySession, batch: np.ndarray) -> None:
    with pytest.raises(RuntimeMissingError, match="ended with -6"):
        session.run(batch - 2)
    session.close()


def test_closing_twice_is_fine_and_running_afterwards_is_not(
    session: LegacySession, batch: np.ndarray
) -> None:
    session.close()
    session.close()
    with pytest.raises(EdgeYoloError, match="closed"):
        session.run(batch)


def test_a_wrong_batch_is_refused(session: LegacySession, batch: np.ndarray) -> None:
    with pytest.raises(UsageError, match="expected float32"):
        session.run(batch.astype(np.float64))
    session.close()


def test_a_file_it_cannot_read_is_refused(legacy: Path, source: NetworkSource, tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("[]")
    (tmp_path / "model.bin").write_bytes(b"rubbish")
    with pytest.raises(DamagedFileError, match="bad weights") as caught:
        LegacySession(legacy, tmp_path / "model.xml", source.input, source.output)
    assert str(tmp_path / "model.xml") in str(caught.value)
    with pytest.raises(EdgeYoloError, match="cannot query"):
        query(legacy, tmp_path / "missing.onnx")


def test_the_environment_is_found_by_variable_or_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path))
    assert environment.find({}) is None
    python = tmp_path / "ncs-openvino-2021.4.2" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert environment.find({}) == python
    assert environment.find({"EDGEYOLO_NCS_PYTHON": "None"}) is None
    assert environment.find({"EDGEYOLO_NCS_PYTHON": sys.executable}) == Path(sys.executable)
    with pytest.raises(UsageError, match="there is no such file"):
        environment.find({"EDGEYOLO_NCS_PYTHON": str(tmp_path / "python")})


def script(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


# A Python 3.9 that makes environments whose pip does as $PIP says, and notes what it was asked.
PYTHON39 = """
if [ "$1" = -V ]; then echo "Python 3.9.18"; exit; fi
mkdir -p "$3/bin"
printf '#!/bin/sh\\necho "$@" >> "$PIP_LOG"\\n%s\\n' "$PIP" > "$3/bin/python"
chmod +x "$3/bin/python"
"""


@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts stand for the interpreters")
def test_the_environment_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_LOG", str(tmp_path / "log"))
    # What a version manager leaves on the path where none is chosen.
    script(tmp_path / "bin" / "python3.9", "echo 'no version is set' >&2; exit 127")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    with pytest.raises(RuntimeMissingError, match=r"needs Python 3\.9, which is not here"):
        environment.create()
    script(tmp_path / "pyenv" / "versions" / "3.9.18" / "bin" / "python", PYTHON39)
    monkeypatch.setenv("PIP", "echo 'no matching distribution' >&2; exit 1")
    with pytest.raises(
        RuntimeMissingError, match=r"cannot install OpenVINO 2021\.4: no matching distribution"
    ):
        environment.create()
    assert environment.find({}) is None
    monkeypatch.setenv("PIP", "exit 0")
    python = environment.create()
    assert python == environment.find({}) == environment.create()
    asked = (tmp_path / "log").read_text().splitlines()
    assert len(asked) == 2  # the one that failed, the one that did not, and none for what is there
    assert asked[-1].endswith(" ".join(environment.REQUIREMENTS))


def test_the_command_checks_a_file(legacy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").touch()

    def check() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgeyolo_openvino.ncs", "check", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = check()
    assert (done.returncode, done.stderr) == (0, "")
    assert "takes 3 of 3 layers" in done.stdout
    monkeypatch.setenv("FAKE_REFUSED", "conv")
    done = check()
    assert (done.returncode, done.stderr.strip()) == (5, "refused: Conv conv")
    monkeypatch.setenv("EDGEYOLO_NCS_PYTHON", "none")
    done = check()
    assert done.returncode == 3
    assert "make ncs-check" in done.stderr


@pytest.mark.slow
def test_the_real_2021_takes_every_layer_and_computes_the_same(
    make: Make, tmp_path: Path, batch: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    if environment.find() is None:
        pytest.skip(f"there is no environment with OpenVINO 2021.4; {environment.SETUP}")
    backend = OpenvinoNcsBackend()
    one, two = (make(backend, TARGET, tmp_path / name) for name in "ab")
    assert one.manifest.files == two.manifest.files  # equal networks, equal bytes
    assert "2021.4.2" in one.manifest.tools["openvino (legacy)"]
    assert 'version="10"' in (one.path / "model.xml").read_text()[:200]
    with closing(backend.open_for_parity(one)) as session:
        legacy = session.run(batch)
    monkeypatch.setenv("EDGEYOLO_NCS_PYTHON", "none")
    plain = make(backend, TARGET, tmp_path / "onnx")
    with closing(backend.open_for_parity(plain)) as session:
        today = session.run(batch)
    monkeypatch.setenv("EDGEYOLO_OPENVINO_DEVICE", "CPU")
    with closing(backend.open(one)) as session:  # format 10, read by today's OpenVINO
        reread = session.run(batch)
    for name, want in today.items():
        assert np.abs(legacy[name] - want).max() < 2e-3 * np.abs(want).max()
        assert np.abs(reread[name] - legacy[name]).max() < 1e-4 * np.abs(want).max()
