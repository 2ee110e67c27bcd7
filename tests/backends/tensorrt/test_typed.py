"""The strongly typed form of integer packages: float16 wherever it is not int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch", reason="needs the export extra")

from tensorrt_fakes.machine import FakeGpu  # noqa: E402
from tensorrt_fakes.scenario import Install  # noqa: E402

from edgeyolo.artifact.artifact import Artifact  # noqa: E402
from edgeyolo.backend import registry  # noqa: E402
from edgeyolo.backend.interface import CalibrationSource  # noqa: E402
from edgeyolo.datasets.scenes import make_scene  # noqa: E402
from edgeyolo.errors import UnsupportedTargetError  # noqa: E402
from edgeyolo.export import ExportOptions, export  # noqa: E402
from edgeyolo.runtime.postprocess_config import PostprocessConfig  # noqa: E402
from edgeyolo.runtime.preprocess import preprocess  # noqa: E402
from edgeyolo_tensorrt.engine.builder import build_engine  # noqa: E402
from edgeyolo_tensorrt.options import DeviceOptions  # noqa: E402
from edgeyolo_tensorrt.package.recipe import FILE, GRAPH, TYPED, Recipe  # noqa: E402
from edgeyolo_tensorrt.package.typed import half_scales, to_typed  # noqa: E402
from edgeyolo_tensorrt.run.stand_in import StandIn, with_roundings  # noqa: E402

HALF, FLOAT, INT8 = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT, onnx.TensorProto.INT8
GENERATIONS = [
    ("8.5.3.1", "pycuda", GRAPH, True),
    ("10.3.0", "cuda-python 12.6.0", TYPED, False),
    ("11.4.0.106", "cuda-python 13.4.4", TYPED, False),
]


@pytest.fixture(scope="module")
def integers(
    small_weights: Path, calibration: CalibrationSource, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    place = tmp_path_factory.mktemp("typed") / "jetson"
    return export(small_weights, "jetson-trt-int8", place, ExportOptions(calibration=calibration))


@pytest.fixture(scope="module")
def suppressing(
    small_weights: Path, calibration: CalibrationSource, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    options = ExportOptions(
        calibration=calibration, nms=PostprocessConfig(conf=0.05, max_det=50), input="uint8"
    )
    return export(small_weights, "jetson-trt-int8", tmp_path_factory.mktemp("typed") / "graph", options)


def types(model: onnx.ModelProto) -> dict[str, int]:
    """Each tensor's element type, weights included."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {item.name: item.data_type for item in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        found[value.name] = value.type.tensor_type.elem_type
    return found


def test_everything_between_the_borders_is_float16_or_int8(integers: Artifact) -> None:
    model = onnx.load(str(integers.path / TYPED))
    kinds = types(model)
    assert model.opset_import[0].version == 19
    borders = {value.name for value in (*model.graph.input, *model.graph.output)}
    assert {kinds[name] for name in borders} == {FLOAT}
    inside = {name for node in model.graph.node for name in node.output} - borders
    assert {kinds[name] for name in inside} == {HALF, INT8}
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert len(casts) == len(borders)  # at the ends alone
    scales = {node.input[1] for node in model.graph.node if "uantizeLinear" in node.op_type}
    assert {kinds[name] for name in scales} == {HALF}


def test_the_integers_are_those_of_the_graph_for_old_versions(integers: Artifact) -> None:
    old, new = (onnx.load(str(integers.path / name)) for name in (GRAPH, TYPED))
    kinds = [[node.op_type for node in model.graph.node if node.op_type != "Cast"] for model in (old, new)]
    assert kinds[0] == kinds[1]
    before, after = (
        {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
        for model in (old, new)
    )
    for node in old.graph.node:
        if node.op_type == "QuantizeLinear":
            first, second = (values[node.input[1]].astype(np.float64) for values in (before, after))
            assert (second >= first).all()
            np.testing.assert_allclose(second, first, rtol=2**-10)


def test_what_decodes_in_the_graph_stays_float32(suppressing: Artifact) -> None:
    model = onnx.load(str(suppressing.path / TYPED))
    maps = {
        node.output[0] for node in model.graph.node if node.op_type == "Cast" and "_half" in node.input[0]
    }
    assert len(maps) == 3
    inner = [node for node in model.graph.node if node.name.startswith("detections/")]
    assert inner
    written = {item.name: item.data_type for item in model.graph.initializer}
    assert HALF not in {written.get(name) for node in inner for name in node.input}
    recipe = Recipe.read(suppressing.path / FILE)
    assert (recipe.types, recipe.typed) == (("float32", "int8"), TYPED)  # flags would lower the boxes too
    assert suppressing.manifest.parity is not None
    assert suppressing.manifest.parity.detections > 0


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda generation: generation[0])
@pytest.mark.parametrize("kind", ["integers", "suppressing"])
def test_each_version_builds_the_form_that_it_reads(
    request: pytest.FixtureRequest, device: Install, kind: str, generation: tuple[str, str, str, bool]
) -> None:
    version, cuda, graph, flags = generation
    artifact: Artifact = request.getfixturevalue(kind)
    manifest = artifact.manifest
    batch = preprocess([make_scene(3).image], manifest.input)[0]
    expected = StandIn(artifact.path / graph, manifest.input, manifest.output).run(batch)
    machine = device(FakeGpu("Orin", (8, 7)), tensorrt=version, cuda=cuda)
    record = build_engine(artifact, DeviceOptions()).record
    assert record.strongly_typed is not flags
    (built,) = [event for event in machine.events if event.startswith("built")]
    assert ("'INT8'" in built) is flags
    assert ("'FP16'" in built) is (flags and kind == "integers")
    session = registry.open_session(artifact)
    found = session.run(batch)
    session.close()
    for name in manifest.output.names:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)


def test_the_gate_judges_the_typed_form(integers: Artifact) -> None:
    """In float16, as it is written: the stand-in is not the float32 graph in disguise."""
    manifest = integers.manifest
    batch = preprocess([make_scene(3).image], manifest.input)[0]
    judged = registry.backends()["tensorrt"].open_for_parity(integers).run(batch)  # type: ignore[attr-defined]
    old, new = (
        StandIn(integers.path / name, manifest.input, manifest.output).run(batch) for name in (GRAPH, TYPED)
    )
    for name in manifest.output.names:
        np.testing.assert_array_equal(judged[name], new[name])
        np.testing.assert_array_equal(new[name], new[name].astype(np.float16))
        assert not np.array_equal(old[name], new[name])


def test_the_stand_in_overflows_between_quantizers_as_float16_does() -> None:
    value = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "d"),
        onnx.helper.make_node("Mul", ["d", "k"], ["y"], "m"),
    ]
    weights = [
        onnx.numpy_helper.from_array(np.array(1.0, np.float32), "s"),
        onnx.numpy_helper.from_array(np.array(0, np.int8), "z"),
        onnx.numpy_helper.from_array(np.array(1000.0, np.float32), "k"),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [value("x", FLOAT, [2])], [value("y", FLOAT, [2])], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    import onnxruntime as ort

    session = ort.InferenceSession(with_roundings(to_typed(model)).SerializeToString())
    (found,) = session.run(None, {"x": np.array([50, 100], np.float32)})
    np.testing.assert_array_equal(found, [49984, np.inf])  # steps of 32 there


def test_scales_move_up_to_the_next_float16_and_never_to_nothing() -> None:
    scales = np.array([1 / 255, 1e-5, 1e-9, 2.0], np.float32)
    found = half_scales(scales)
    assert found.dtype == np.float16
    assert (found.astype(np.float32) >= scales).all()
    assert (found > 0).all()
    np.testing.assert_allclose(found[[0, 1, 3]], scales[[0, 1, 3]], rtol=0.01)


def test_a_bias_beyond_float16_is_refused(integers: Artifact) -> None:
    model = onnx.load(str(integers.path / GRAPH))
    bias = next(node.input[2] for node in model.graph.node if node.op_type == "Conv")
    (tensor,) = [item for item in model.graph.initializer if item.name == bias]
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0] = 7e4
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, bias))
    with pytest.raises(UnsupportedTargetError, match="float16 reaches 65504"):
        to_typed(model)
