"""The ONNX file that is written from a trace is the one that torch's own exporter makes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the export extra")

import onnx
import torch

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.backend.op_graph import Graph
from edgeyolo.errors import UnsupportedTargetError
from edgeyolo.export.onnx_file import write_graph
from edgeyolo.export.trace import trace
from edgeyolo.models.build import build
from edgeyolo.models.scaling import scale_width
from edgeyolo.models.specs import get

SIZE = InputContract(64, 128)


def run(model: onnx.ModelProto, picture: Any) -> list[Any]:
    import onnxruntime as ort

    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {model.graph.input[0].name: picture}))


def written(network: Any, opset: int = 18, contract: InputContract = SIZE) -> onnx.ModelProto:
    graph = trace(network, contract)
    weights = {name: each.numpy() for name, each in network.state_dict().items()}
    names = [f"p{number}" for number in range(3, 3 + len(graph.outputs))]
    return write_graph(graph, weights, names, opset, dynamic_batch=contract.dynamic_batch)


def of_torch(network: Any, picture: Any, path: Path, opset: int) -> onnx.ModelProto:
    torch.onnx.export(network, (torch.from_numpy(picture),), path, dynamo=False, opset_version=opset)
    return onnx.load(path)


def small(name: str) -> Any:
    torch.manual_seed(0)
    spec = get(name)
    if name.startswith("yolov7"):
        spec = scale_width(spec, 1 / 16)
    return build(spec, 2, form="plain").eval()


@pytest.fixture
def picture() -> Any:
    return np.random.default_rng(0).random((1, 3, *SIZE.size), np.float32)


# Leaky units and pools; slices over two axes at once, SiLU, a sum of twins: every operator of the networks.
@pytest.mark.parametrize(("name", "opset"), [("yolov7-tiny", 11), ("yolov7-tiny", 18), ("yolov7-e6e", 13)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:You are using the legacy")
def test_the_file_computes_what_torchs_own_does(name: str, opset: int, picture: Any, tmp_path: Path) -> None:
    network = small(name)
    made = run(written(network, opset), picture)
    for mine, theirs in zip(
        made, run(of_torch(network, picture, tmp_path / "torch.onnx", opset), picture), strict=True
    ):
        assert np.abs(theirs).max() > 0
        np.testing.assert_allclose(mine, theirs, atol=1e-6 * np.abs(theirs).max(), rtol=0)


def test_slices_of_slices_are_one() -> None:
    nodes = written(small("yolov7-e6e")).graph.node
    assert sum(node.op_type == "Slice" for node in nodes) == 4


def test_slices_of_one_axis_stay_two(picture: Any) -> None:
    class Cropped(torch.nn.Module):
        def forward(self, images: Any) -> Any:
            return (torch.relu(images[:, :, 2:][:, :, 3:, ::2]),)

    (made,) = run(written(Cropped()), picture)
    np.testing.assert_array_equal(made, picture[:, :, 5:, ::2])


def test_a_dynamic_batch_is_open(picture: Any) -> None:
    model = written(small("yolov7-tiny"), contract=replace(SIZE, dynamic_batch=True))
    two = run(model, np.concatenate([picture, 0 * picture]))
    np.testing.assert_allclose(two[0][:1], run(model, picture)[0], atol=1e-6)
    assert {each.type.tensor_type.shape.dim[0].dim_param for each in model.graph.output} == {"batch"}


def test_weights_are_written_once_and_under_their_names() -> None:
    network = small("yolov7-tiny")
    state = network.state_dict()
    constants = {each.name: each for each in written(network).graph.initializer}
    assert state.keys() <= constants.keys()
    name = "stem.0.conv.weight"
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(constants[name]), state[name].numpy())


def test_what_onnx_does_not_name_is_refused() -> None:
    class Odd(torch.nn.Module):
        def forward(self, images: Any) -> Any:
            return (torch.cosh(images),)

    with pytest.raises(UnsupportedTargetError, match="aten::cosh"):
        written(Odd())


def test_an_opset_without_the_resize_of_torch_is_refused() -> None:
    with pytest.raises(UnsupportedTargetError, match="opset 10: networks are written in 11 and newer"):
        write_graph(Graph("images", (1, 3, 32, 32), (), (), 0), {}, [], 10)


def test_constants_are_written_once_and_every_tensor_has_its_shape() -> None:
    """Slices of one map and scales of two are alike, and every tensor has its shape."""
    model = written(small("yolov7-e6e"))
    arrays = [onnx.numpy_helper.to_array(each).tobytes() for each in model.graph.initializer]
    assert len(arrays) == len(set(arrays))
    inner = {output for node in model.graph.node for output in node.output}
    known = {each.name for each in (*model.graph.value_info, *model.graph.output)}
    assert inner == known & inner
    assert {each.name for each in model.graph.input} == {"images"}


@pytest.mark.parametrize("name", ["yolov7-tiny", "yolov7", "yolov7-w6", "yolov7-e6e"])
def test_onnxsim_finds_nothing_to_simplify(name: str) -> None:
    """Users run it over any file before they hand it on: it gives the same operations, and works."""
    import onnxsim

    model = written(small(name), contract=InputContract(128, 128))
    simplified, same = onnxsim.simplify(model, check_n=1)
    assert same
    assert [node.op_type for node in simplified.graph.node] == [node.op_type for node in model.graph.node]


def test_a_slice_that_something_else_reads_too_stays(picture: Any) -> None:
    class Shared(torch.nn.Module):
        def forward(self, images: Any) -> Any:
            rows = images[:, :, ::2]
            return rows[:, :, :, 1::2], torch.relu(rows)

    model = written(Shared())
    assert [node.op_type for node in model.graph.node] == ["Slice", "Slice", "Relu"]
    first = model.graph.node[0].output[0]
    assert [node.input[0] for node in model.graph.node] == ["images", "images", first]
    made = run(model, picture)
    np.testing.assert_array_equal(made[0], picture[:, :, ::2, 1::2])
    np.testing.assert_array_equal(made[1], picture[:, :, ::2])


def test_neither_torchs_compiler_nor_sympy_nor_its_exporter_is_imported() -> None:
    """They took most of the time of an export of a small network."""
    code = (
        "import sys, torch\n"
        "from edgeyolo.artifact.contracts import InputContract\n"
        "from edgeyolo.export.trace import trace\n"
        "from edgeyolo.models.build import build\n"
        "for name in ('yolov7-tiny', 'yolov7-e6e', 'yolov4-csp', 'r50-csp'):\n"
        "    graph = trace(build(name, form='plain', device='meta'), InputContract(256, 256))\n"
        "print([name for name in ('torch._dynamo', 'torch.fx.experimental.symbolic_shapes', 'sympy',\n"
        "       'torch.onnx._internal.exporter', 'onnxscript', 'onnxsim') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
