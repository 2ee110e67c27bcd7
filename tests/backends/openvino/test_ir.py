"""OpenVINO files: the same bytes every time, nothing of this machine, operators that 2022 knows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from edgeyolo.errors import EdgeYoloError
from edgeyolo_openvino.ir import FILES, write_ir

pytest.importorskip("openvino", reason="needs the openvino extra")
onnx = pytest.importorskip("onnx", reason="needs the export extra")

if TYPE_CHECKING:
    from edgeyolo.export.source import NetworkSource


@pytest.fixture(scope="module")
def onnx_file(source: NetworkSource) -> Path:
    return source.onnx(opset=18)


def written(onnx: Path, into: Path, source: NetworkSource, *, half: bool = False) -> Path:
    into.mkdir()
    assert write_ir(onnx, into, source.input, half=half) == FILES
    return into


@pytest.mark.parametrize("half", [False, True])
def test_equal_networks_give_equal_bytes(
    onnx_file: Path, source: NetworkSource, tmp_path: Path, half: bool
) -> None:
    one, two = (written(onnx_file, tmp_path / name, source, half=half) for name in "ab")
    elsewhere = tmp_path / "another process"
    elsewhere.mkdir()
    code = (
        "import sys; from pathlib import Path; from edgeyolo.artifact.contracts import InputContract;"
        "from edgeyolo_openvino.ir import write_ir;"
        f"write_ir(Path(sys.argv[1]), Path(sys.argv[2]), InputContract(96, 96), half={half})"
    )
    subprocess.run([sys.executable, "-c", code, str(onnx_file), str(elsewhere)], check=True)
    for name in FILES:
        assert (one / name).read_bytes() == (two / name).read_bytes() == (elsewhere / name).read_bytes()


def test_the_graph_tells_nothing_of_the_machine(
    onnx_file: Path, source: NetworkSource, tmp_path: Path
) -> None:
    text = (written(onnx_file, tmp_path / "ir", source) / "model.xml").read_text()
    assert str(tmp_path) not in text
    assert str(onnx_file.parent) not in text
    names = [str(layer.get("name")) for layer in ElementTree.fromstring(text).iter("layer")]
    assert not [name for name in names if re.fullmatch(r"[A-Z][A-Za-z]*_\d+", name)]
    assert len(names) == len(set(names))


def test_every_operator_is_known_to_openvino_2022(
    onnx_file: Path, source: NetworkSource, tmp_path: Path
) -> None:
    graph = ElementTree.parse(written(onnx_file, tmp_path / "ir", source) / "model.xml")
    layers = [(str(layer.get("type")), str(layer.get("version"))) for layer in graph.iter("layer")]
    assert {version for _, version in layers} <= {f"opset{number}" for number in range(1, 11)}
    assert ("Interpolate", "opset4") in layers
    assert "ShapeOf" not in {kind for kind, _ in layers}  # biases are constants, not sums of shapes


def test_half_the_weights_and_float32_at_both_ends(
    onnx_file: Path, source: NetworkSource, tmp_path: Path
) -> None:
    import openvino as ov

    full = written(onnx_file, tmp_path / "full", source)
    half = written(onnx_file, tmp_path / "half", source, half=True)
    assert (half / "model.bin").stat().st_size < 0.52 * (full / "model.bin").stat().st_size
    model = ov.Core().read_model(half / "model.xml")
    assert {port.get_element_type() for port in [*model.inputs, *model.outputs]} == {ov.Type.f32}


def test_a_dynamic_batch_is_bounded(onnx_file: Path, source: NetworkSource, tmp_path: Path) -> None:
    model = onnx.load(onnx_file)
    for port in [*model.graph.input, *model.graph.output]:
        port.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, tmp_path / "free.onnx")
    free = replace(source, input=replace(source.input, dynamic_batch=True))
    folder = written(tmp_path / "free.onnx", tmp_path / "ir", free)
    assert 'shape="1..32,3,96,96"' in (folder / "model.xml").read_text()


def test_class_names_of_any_script_survive(onnx_file: Path, source: NetworkSource, tmp_path: Path) -> None:
    import openvino as ov

    names = ["Käfer & <b>", '"猫"', "a'b]]>"]
    model = onnx.load(onnx_file)
    onnx.helper.set_model_props(model, {"class_names": json.dumps(names, ensure_ascii=False)})
    onnx.save(model, tmp_path / "odd.onnx")
    folder = written(tmp_path / "odd.onnx", tmp_path / "ir", source)
    read = ov.Core().read_model(folder / "model.xml")
    assert json.loads(read.get_rt_info(["framework", "class_names"]).astype(str)) == names


def test_broken_networks_are_refused_with_the_reason(source: NetworkSource, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"rubbish" * 100)
    with pytest.raises(EdgeYoloError, match="cannot convert"):
        write_ir(tmp_path / "net.onnx", tmp_path, source.input, half=False)
