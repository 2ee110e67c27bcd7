"""Artifacts for the Hexagon NPU: compiled by Qualcomm's compiler and run by its emulator."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime_qnn", reason="needs the qnn extra, which is for Python 3.11 on x86-64")
torch = pytest.importorskip("torch", reason="needs the qnn extra")
import onnx  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

from edgeyolo.artifact.artifact import Artifact  # noqa: E402
from edgeyolo.artifact.contracts import InputContract, RawMaps  # noqa: E402
from edgeyolo.artifact.target import Target  # noqa: E402
from edgeyolo.backend import registry  # noqa: E402
from edgeyolo.backend.interface import CalibrationSource  # noqa: E402
from edgeyolo.datasets.scenes import make_scene  # noqa: E402
from edgeyolo.errors import DamagedFileError, EdgeYoloError, UnsupportedTargetError, UsageError  # noqa: E402
from edgeyolo.export import ExportOptions, export  # noqa: E402
from edgeyolo.export.exporter import prepared  # noqa: E402
from edgeyolo.export.source import NetworkSource  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.reparameterize import reparameterize  # noqa: E402
from edgeyolo.models.scaling import scale_width  # noqa: E402
from edgeyolo.models.specs import get, names  # noqa: E402
from edgeyolo.runtime.preprocess import preprocess  # noqa: E402
from edgeyolo_calib.onnx_graph import Graph  # noqa: E402
from edgeyolo_calib.quantize.rules import units  # noqa: E402
from edgeyolo_calib.ranges.measured import ChosenImages  # noqa: E402
from edgeyolo_calib.ranges.observe import observe  # noqa: E402
from edgeyolo_qnn import QnnBackend, library  # noqa: E402
from edgeyolo_qnn.chips import CHIPS, HALF  # noqa: E402
from edgeyolo_qnn.compiler import compile_context, refused  # noqa: E402
from edgeyolo_qnn.limits import OPERATORS  # noqa: E402
from edgeyolo_qnn.session import ports  # noqa: E402


@pytest.fixture(scope="module")
def half(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The small network in float16, for the usual chip."""
    return export(small_weights, "hexagon-qnn-fp16", tmp_path_factory.mktemp("hexagon") / "half")


def maps_of(artifact: Artifact, seed: int = 3) -> dict[str, np.ndarray]:
    session = registry.open_for_parity(artifact)[0]
    found = session.run(preprocess([make_scene(seed).image], artifact.manifest.input)[0])
    session.close()
    return found


def test_the_emulator_computes_in_float16(half: Artifact) -> None:
    parity = half.manifest.parity
    assert parity is not None
    assert 1e-5 < parity.worst < 1e-2  # float32 would be nearer than 1e-5
    assert "emulator" in parity.images


def test_the_manifest_names_the_chip(half: Artifact) -> None:
    assert half.manifest.chip == {
        "soc": "sm8550",
        "product": "Snapdragon 8 Gen 2",
        "architecture": "Hexagon v73",
        "qnn_soc_model": "43",
    }
    assert half.manifest.tools["onnxruntime-qnn"]


def test_another_chip_has_another_binary(half: Artifact, small_weights: Path, tmp_path: Path) -> None:
    other = export(small_weights, "hexagon-qnn-fp16", tmp_path / "other", ExportOptions(soc="SM8450"))
    assert other.manifest.chip is not None
    assert other.manifest.chip["architecture"] == "Hexagon v69"
    assert other.manifest.files["model.onnx"] == half.manifest.files["model.onnx"]
    assert other.manifest.files["context_qnn.bin"] != half.manifest.files["context_qnn.bin"]


def test_the_same_export_has_the_same_binary(half: Artifact, small_weights: Path, tmp_path: Path) -> None:
    again = export(small_weights, "hexagon-qnn-fp16", tmp_path / "again")
    assert again.manifest == half.manifest


@pytest.mark.parametrize(
    ("target", "soc", "told"),
    [
        ("hexagon-qnn-fp16", "sm8350", "v68, which computes in integers only"),
        ("hexagon-qnn-fp16", "sm8551", "does not know this chip"),
        ("cpu-onnx-fp32", "sm8550", "is not compiled for one chip"),
    ],
)
def test_a_chip_that_does_not_fit_is_refused(
    small_weights: Path, tmp_path: Path, target: str, soc: str, told: str
) -> None:
    with pytest.raises((UnsupportedTargetError, UsageError), match=told):
        export(small_weights, target, tmp_path / "made", ExportOptions(soc=soc))
    assert not (tmp_path / "made").exists()


def test_every_chip_has_a_number_of_its_own() -> None:
    assert len({chip.model for chip in CHIPS.values()}) == len(CHIPS)
    assert {chip.arch for chip in CHIPS.values()} == {68, 69, 73, 75, 79, 81}


@pytest.mark.parametrize("arch", sorted({chip.arch for chip in CHIPS.values() if chip.arch >= HALF}))
def test_every_architecture_compiles(half: Artifact, tmp_path: Path, arch: int) -> None:
    chip = next(chip for chip in CHIPS.values() if chip.arch == arch)
    compile_context(half.path / "model.onnx", tmp_path / "context.onnx", chip)
    assert ports(library.load(tmp_path / "context.onnx")) == ports(library.load(half.path / "context.onnx"))


def test_integers_are_those_of_the_file(
    small_weights: Path, calibration: CalibrationSource, tmp_path: Path
) -> None:
    options = ExportOptions(calibration=calibration, input="float")
    made = export(small_weights, "hexagon-qnn-int8", tmp_path / "made", options)
    plain = export(small_weights, "cpu-onnx-int8", tmp_path / "plain", options)
    kinds = [node.op_type for node in onnx.load(made.path / "model.onnx").graph.node]
    assert kinds.count("DequantizeLinear") > kinds.count("Conv")
    for name, want in maps_of(
        plain
    ).items():  # the same quantizers: what differs is rounding to the last step
        assert np.abs(maps_of(made)[name] - want).max() <= 0.03 * np.abs(want).max()


def test_layers_of_a_budget_run_in_float16(
    small_weights: Path, calibration: CalibrationSource, tmp_path: Path
) -> None:
    """The compiler takes islands of float16 between integers, and the emulator runs them."""
    asked = ExportOptions(calibration=calibration, input="float")
    with prepared(small_weights, "hexagon-qnn-int8", asked) as source:
        model = source.onnx(opset=18)
        statistics = observe(model, source.input, calibration, keep=tmp_path / "ranges.json")
        graph = Graph(onnx.load(model))
        layers = tuple(unit.output for unit in units(graph)[20:] if not unit.ends)
        given = preprocess([make_scene(3).image], source.input)[0]
        with torch.no_grad():
            exact = dict(zip(source.output.names, source.network(torch.from_numpy(given)), strict=True))
    statistics.floats = layers
    statistics.save(tmp_path / "ranges.json")
    chosen = replace(asked, calibration=ChosenImages(calibration, tmp_path / "ranges.json", layers))
    plain = export(small_weights, "hexagon-qnn-int8", tmp_path / "plain", asked)
    mixed = export(small_weights, "hexagon-qnn-int8", tmp_path / "mixed", chosen)

    def integers(artifact: Artifact) -> int:
        nodes = onnx.load(artifact.path / "model.onnx").graph.node
        made = {name: node.op_type for node in nodes for name in node.output}
        return sum(node.op_type == "Conv" and made.get(node.input[1]) is not None for node in nodes)

    def error(artifact: Artifact) -> float:
        maps = maps_of(artifact)
        return sum(float(np.square(maps[name] - want.numpy()).sum()) for name, want in exact.items())

    assert integers(mixed) == integers(plain) - len(layers)
    assert error(mixed) < 0.9 * error(plain)


def graph_of(kind: str, path: Path) -> Path:
    """A file with a single operator of that kind."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 8, 16, 16])
    constants: dict[str, np.ndarray] = {}
    inputs, attributes = ["images"], {}
    if kind == "Conv":
        constants["w"] = np.ones((8, 8, 3, 3), np.float32)
        inputs, attributes = ["images", "w"], {"pads": [1, 1, 1, 1]}
    elif kind in ("Add", "Mul"):
        inputs = ["images", "images"]
    elif kind == "Concat":
        inputs, attributes = ["images", "images"], {"axis": 1}
    elif kind in ("MaxPool", "AveragePool"):
        attributes = {"kernel_shape": [2, 2], "strides": [2, 2]}
    elif kind == "Resize":
        constants["s"] = np.array([1, 1, 2, 2], np.float32)
        inputs, attributes = (
            ["images", "", "s"],
            {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"},
        )
    elif kind == "Slice":
        constants |= {n: np.array(v) for n, v in (("a", [0]), ("b", [16]), ("c", [2]), ("d", [2]))}
        inputs = ["images", "a", "b", "c", "d"]
    node = helper.make_node(kind, inputs, ["out"], **attributes)
    output = helper.make_empty_tensor_value_info("out")
    initializers = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([node], "one", [images], [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


@pytest.mark.parametrize("kind", sorted(OPERATORS))
def test_the_provider_takes_what_the_table_says(kind: str, tmp_path: Path) -> None:
    context = tmp_path / "context.onnx"
    compile_context(graph_of(kind, tmp_path / "one.onnx"), context, CHIPS["sm8550"])
    given = library.load(context).run(None, {"images": np.ones((1, 8, 16, 16), np.float32)})
    assert np.isfinite(given[0]).all()


def test_what_the_provider_does_not_take_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedTargetError, match=r"sm8550 .* does not take some of its operators"):
        compile_context(graph_of("Det", tmp_path / "one.onnx"), tmp_path / "context.onnx", CHIPS["sm8550"])
    told = (
        "Unsupported nodes in QNN EP: { name: a, type: Det }{ name: b, type: Gather }{ name: c, type: Det }"
    )
    assert refused(told) == ["Det (2 times)", "Gather (1 times)"]


def test_a_compiler_that_fails_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "one.onnx").write_bytes(b"no network" * 100)
    with pytest.raises(EdgeYoloError, match=r"compiler failed: .*InvalidProtobuf"):
        compile_context(tmp_path / "one.onnx", tmp_path / "context.onnx", CHIPS["sm8550"])


def test_rubbish_is_refused(tmp_path: Path) -> None:
    (tmp_path / "context.onnx").write_bytes(b"no network" * 100)
    with pytest.raises(DamagedFileError, match=r"context\.onnx.*cannot load it"):
        library.load(tmp_path / "context.onnx")


def test_nothing_is_written_to_standard_output(half: Artifact) -> None:
    """Qualcomm's library greets there when it is loaded first."""
    code = (
        "import sys; from pathlib import Path; from edgeyolo_qnn import library;"
        "library.load(Path(sys.argv[1])); print('result')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(half.path / "context.onnx")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "result\n"


@pytest.mark.parametrize(
    ("system", "machine", "told"),
    [
        ("darwin", "arm64", "no wheel of it for macOS"),
        ("linux", "aarch64", "for x86-64 only"),
        ("linux", "x86_64", ""),
    ],
)
def test_a_missing_package_is_said(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, told: str
) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name == "onnxruntime_qnn" else ModuleSpec(name, None)

    monkeypatch.setattr(library, "find_spec", find)
    monkeypatch.setattr(library.sys, "platform", system)
    monkeypatch.setattr(library, "emulates", lambda: machine == "x86_64")
    found = QnnBackend().can_compile()
    assert not found.ok
    assert found.reason.startswith("the package onnxruntime-qnn is not installed")
    assert told in found.reason
    assert "qnn" in found.hint


def test_an_x86_machine_runs_none(half: Artifact) -> None:
    found = QnnBackend().can_run()
    assert not found.ok
    assert "no Hexagon NPU in an x86 machine" in found.reason


def cases() -> list[Any]:
    slow = [name for name in names() if name != "yolov7-tiny"]
    return ["yolov7-tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in slow)]


@pytest.mark.parametrize("name", cases())
def test_every_network_compiles_whole(name: str, tmp_path: Path) -> None:
    """At 128 pixels, of a quarter of the channels; what does not run on the NPU is an error of the provider's."""
    torch.manual_seed(0)
    network = reparameterize(build(scale_width(get(name), 1 / 4), classes=3, form="training").eval()).network
    spec = network.spec
    levels = tuple(f"p{stride.bit_length() - 1}" for stride in spec.strides)
    contract, output = InputContract(128, 128), RawMaps(levels, spec.strides, spec.anchors, 3)
    source = NetworkSource(network, contract, output, ("a", "b", "c"), tmp_path, soc="sm8550")
    into = tmp_path / "made"
    into.mkdir()
    QnnBackend().compile(source, Target("hexagon", "qnn", "fp16"), into)
    batch = preprocess([make_scene(3).image], contract)[0]
    given = library.load(into / "context.onnx").run(list(output.names), {contract.name: batch})
    with torch.inference_mode():
        expected = network(torch.from_numpy(batch))
    for have, want in zip(given, expected, strict=True):
        assert np.abs(have - want.numpy()).max() <= 2e-2 * np.abs(want.numpy()).max()
