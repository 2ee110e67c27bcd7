"""Networks as ncnn's two files, run by ncnn itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ncnn", reason="needs the ncnn extra")
torch = pytest.importorskip("torch", reason="needs the ncnn extra")
import onnx  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

from edgeyolo.artifact.contracts import InputContract, RawMaps  # noqa: E402
from edgeyolo.artifact.target import Target  # noqa: E402
from edgeyolo.backend.interface import CalibrationSource  # noqa: E402
from edgeyolo.datasets.scenes import make_scene  # noqa: E402
from edgeyolo.errors import DamagedFileError, UnsupportedTargetError  # noqa: E402
from edgeyolo.export import ExportOptions, export  # noqa: E402
from edgeyolo.export.parity_gate import deviations, reference_maps  # noqa: E402
from edgeyolo.export.source import NetworkSource  # noqa: E402
from edgeyolo.export.trace import trace  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.scaling import scale_width  # noqa: E402
from edgeyolo.models.specs import find, get, names  # noqa: E402
from edgeyolo.runtime.preprocess import preprocess  # noqa: E402
from edgeyolo_bench.measure.random_weights import save_random  # noqa: E402
from edgeyolo_calib.quantize.even_sums import with_even_sums  # noqa: E402
from edgeyolo_ncnn import NcnnBackend, backend  # noqa: E402
from edgeyolo_ncnn.convert import Steps, to_layers  # noqa: E402
from edgeyolo_ncnn.files import to_files  # noqa: E402
from edgeyolo_ncnn.limits import in_float  # noqa: E402
from edgeyolo_ncnn.session import NcnnSession, load  # noqa: E402

SHAPE = (1, 6, 9, 11)  # rows and columns differ, and no plane is a multiple of 16 bytes


def graph(
    nodes: list[onnx.NodeProto], outputs: list[str], constants: Mapping[str, np.ndarray] = {}
) -> onnx.ModelProto:
    """A network of these nodes that takes `images`."""
    made = helper.make_graph(
        nodes,
        "few",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: onnx.ModelProto, folder: Path, steps: Mapping[str, Steps] = {}) -> dict[str, np.ndarray]:
    """Outputs of ncnn for generated values."""
    import ncnn

    layers, outputs = to_layers(model, steps)
    text, data = to_files(layers, outputs)
    files = folder / "few.param", folder / "few.bin"
    files[0].write_text(text)
    files[1].write_bytes(data)
    net = load(files, half=False, threads=1)
    with net.create_extractor() as extractor:
        image = values()[0]
        extractor.input("images", ncnn.Mat(image).clone())
        return {name: np.array(extractor.extract(name)[1])[None] for name in outputs}


def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def expected(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    import onnxruntime as ort

    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"images": values()})
    return {item.name: value for item, value in zip(session.get_outputs(), found, strict=True)}


def convolution(**attributes: Any) -> tuple[onnx.NodeProto, dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    groups = attributes.get("group", 1)
    weight = random.normal(size=(8 if groups == 1 else 6, 6 // groups, 3, 2)).astype(np.float32)
    bias = random.normal(size=len(weight)).astype(np.float32)
    node = helper.make_node("Conv", ["images", "w", "b"], ["sums"], name="conv", **attributes)
    return node, {"w": weight, "b": bias}


SLICES = {"zero": [0], "one": [1], "many": [2**31], "rows": [2], "columns": [3], "two": [2]}
NUMBERS = {name: np.array(value) for name, value in SLICES.items()}
CASES: dict[str, tuple[list[onnx.NodeProto], list[str], dict[str, np.ndarray]]] = {
    "stride and uneven padding": (
        [convolution(strides=[2, 1], pads=[1, 0, 2, 3])[0]],
        ["sums"],
        convolution()[1],
    ),
    "dilation": ([convolution(dilations=[2, 3])[0]], ["sums"], convolution()[1]),
    "groups": ([convolution(group=6)[0]], ["sums"], convolution(group=6)[1]),
    "a fused LeakyReLU": (
        [convolution()[0], helper.make_node("LeakyRelu", ["sums"], ["out"], alpha=0.1)],
        ["out"],
        convolution()[1],
    ),
    "a LeakyReLU whose input is an output too": (
        [convolution()[0], helper.make_node("LeakyRelu", ["sums"], ["out"], alpha=0.1)],
        ["sums", "out"],
        convolution()[1],
    ),
    "SiLU": (
        [
            helper.make_node("Sigmoid", ["images"], ["s"]),
            helper.make_node("Mul", ["images", "s"], ["out"]),
        ],
        ["out"],
        {},
    ),
    "a sigmoid that something else takes too": (
        [
            helper.make_node("Sigmoid", ["images"], ["s"]),
            helper.make_node("Mul", ["images", "s"], ["m"]),
            helper.make_node("Add", ["m", "s"], ["out"]),
        ],
        ["out"],
        {},
    ),
    "pooling": (
        [
            helper.make_node(
                "MaxPool", ["images"], ["out"], kernel_shape=[5, 5], pads=[2, 2, 2, 2], strides=[1, 1]
            )
        ],
        ["out"],
        {},
    ),
    "concatenation of one tensor twice": (
        [helper.make_node("Concat", ["images", "images"], ["out"], axis=1)],
        ["out"],
        {},
    ),
    "nearest pixels": (
        [
            helper.make_node(
                "Resize", ["images", "", "scales"], ["out"],
                mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric",
            )
        ],
        ["out"],
        {"scales": np.array([1, 1, 2, 3], np.float32)},
    ),
    "every second row and column": (
        [helper.make_node("Slice", ["images", "both", "ends", "axes", "twos"], ["out"])],
        ["out"],
        {
            "both": np.array([1, 0]),
            "ends": np.array([2**31, 2**31]),
            "axes": np.array([2, 3]),
            "twos": np.array([2, 2]),
        },
    ),
    "every second row, then column": (
        [
            helper.make_node("Slice", ["images", "one", "many", "rows", "two"], ["half"]),
            helper.make_node("Slice", ["half", "zero", "many", "columns", "two"], ["out"]),
        ],
        ["out"],
        NUMBERS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_layer_computes_what_its_operator_says(case: str, tmp_path: Path) -> None:
    model = graph(*CASES[case])
    want, have = expected(model), run(model, tmp_path)
    assert set(want) == set(have)
    for name, each in want.items():
        np.testing.assert_allclose(have[name], each, rtol=1e-5, atol=1e-5)


def test_a_convolution_in_integers(tmp_path: Path) -> None:
    node, constants = convolution()
    weights = np.abs(constants["w"]).reshape(8, -1).max(axis=1) / 127
    have = run(graph([node], ["sums"], constants), tmp_path, {"conv": Steps(0.03, weights)})["sums"]
    rounded = np.clip(np.rint(values() / 0.03), -127, 127) * 0.03
    levels = with_even_sums(constants["w"], weights)
    want = torch.nn.functional.conv2d(
        torch.from_numpy(rounded.astype(np.float32)),
        torch.from_numpy(levels.astype(np.float32)),
        torch.from_numpy(constants["b"]),
    ).numpy()
    np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-4)
    assert np.abs(want - expected(graph([node], ["sums"], constants))["sums"]).max() > 1e-3  # it is no float


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (helper.make_node("Erf", ["images"], ["out"]), "Erf .*no layer of ncnn"),
        (
            helper.make_node("MaxPool", ["images"], ["out"], kernel_shape=[2, 2], ceil_mode=1),
            "rounded up are not written",
        ),
        (
            helper.make_node("Slice", ["images", "zero", "two", "one", "one"], ["out"]),
            "every so-manieth row or column is expected",
        ),
    ],
)
def test_what_is_not_written_is_refused(node: onnx.NodeProto, told: str) -> None:
    with pytest.raises(UnsupportedTargetError, match=told):
        to_layers(graph([node], ["out"], NUMBERS), {})


def test_weights_beyond_float16_are_refused() -> None:
    node, constants = convolution()
    constants["w"][0, 0, 0, 0] = 1e5
    with pytest.raises(UnsupportedTargetError, match="float16 ends at 65504"):
        to_layers(graph([node], ["sums"], constants), {}, half=True)


def test_float16_halves_the_file(small_weights: Path, tmp_path: Path) -> None:
    sizes = {}
    for precision in ("fp32", "fp16"):
        made = export(small_weights, f"cpu-ncnn-{precision}", tmp_path / precision)
        sizes[precision] = (made.path / "model.ncnn.bin").stat().st_size
    assert sizes["fp16"] < 0.6 * sizes["fp32"]


def test_integers_are_in_the_file(
    small_weights: Path, calibration: CalibrationSource, tmp_path: Path
) -> None:
    made = export(small_weights, "cpu-ncnn-int8", tmp_path / "made", ExportOptions(calibration=calibration))
    lines = (made.path / "model.ncnn.param").read_text().splitlines()
    convolutions = [line for line in lines if line.startswith("Convolution ")]
    integers = [line for line in convolutions if " 8=2" in line]
    assert len(integers) == len(convolutions) - 2 - 3  # the first two, and one for each output
    assert made.manifest.parity is not None
    assert made.manifest.parity.worst > 1e-5  # it is no float32


def test_a_cut_file_is_refused(small_weights: Path, tmp_path: Path) -> None:
    made = export(small_weights, "cpu-ncnn-fp32", tmp_path / "made")
    data = (made.path / "model.ncnn.bin").read_bytes()
    (tmp_path / "cut.bin").write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedFileError, match=r"cut\.bin: ncnn .* cannot load it"):
        load((made.path / "model.ncnn.param", tmp_path / "cut.bin"), half=False, threads=1)


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    found = NcnnBackend().can_run()
    assert found.reason == "the package ncnn is not installed"
    assert "ncnn" in found.hint


def cases() -> list[Any]:
    quick = ("yolov7-tiny", "yolov7-w6")  # LeakyReLU; SiLU and space-to-depth
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names()]


@pytest.mark.parametrize("name", cases())
def test_every_network_gives_torchs_maps(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build(scale_width(get(name), 1 / 4), classes=3, form="plain").eval()
    spec = network.spec
    levels = tuple(f"p{stride.bit_length() - 1}" for stride in spec.strides)
    contract, output = InputContract(64, 128), RawMaps(levels, spec.strides, spec.anchors, 3)
    source = NetworkSource(network, contract, output, ("a", "b", "c"), tmp_path)
    into = tmp_path / "made"
    into.mkdir()
    NcnnBackend().compile(source, Target("cpu", "ncnn", "fp32"), into)
    files = into / "model.ncnn.param", into / "model.ncnn.bin"
    session = NcnnSession(files, contract, output, half=False, threads=1)
    batch = preprocess([make_scene(3).image], contract)[0]
    found = deviations(reference_maps(network, batch, contract, output), session.run(batch))
    assert max(found.values()) < 1e-4


def test_layers_that_a_budget_leaves_in_float_have_no_steps(
    small_weights: Path, calibration: CalibrationSource, tmp_path: Path
) -> None:
    from edgeyolo.models.reparameterize import reparameterize
    from edgeyolo.models.weights import load as load_weights
    from edgeyolo_calib.onnx_graph import Graph
    from edgeyolo_calib.quantize.rules import NCNN, place
    from edgeyolo_calib.ranges.measured import ChosenImages
    from edgeyolo_calib.ranges.observe import observe
    from edgeyolo_ncnn.quantize import steps_of

    network = reparameterize(load_weights(small_weights).network).network
    output = RawMaps(("p3", "p4", "p5"), network.spec.strides, network.spec.anchors, network.classes)
    source = NetworkSource(network, InputContract(96, 96), output, ("cat", "dog", "bird"), tmp_path)
    model = source.onnx(opset=backend.OPSET)
    statistics = observe(model, source.input, calibration)
    kept = place(Graph(onnx.load(model)), NCNN).floats
    chosen = next(
        name
        for name in statistics.tensors
        if name not in kept and name in place(Graph(onnx.load(model)), NCNN, [name]).floats
    )
    for floats in ((), (chosen,)):
        statistics.floats = floats
        statistics.save(tmp_path / "ranges.json")
        source.calibration = ChosenImages(calibration, tmp_path / "ranges.json", floats)
        found = steps_of(model, source, tmp_path)
        integers = {
            name for node in onnx.load(model).graph.node if node.name in found for name in node.output
        }
        assert (chosen in with_activations(onnx.load(model), integers)) is not bool(floats)


def with_activations(model: onnx.ModelProto, tensors: set[str]) -> set[str]:
    """These tensors and what their activation functions make of them."""
    found = set(tensors)
    for node in model.graph.node:
        if node.op_type in ("Sigmoid", "Mul", "LeakyRelu", "Relu") and set(node.input) <= found:
            found |= set(node.output)
    return found


@pytest.mark.slow
def test_convolutions_in_groups_of_several_channels_stay_in_float(
    calibration: CalibrationSource, tmp_path: Path
) -> None:
    """In integers ncnn's maps of x50-csp were 0.85 away."""
    weights = tmp_path / "x50-csp.safetensors"
    save_random(weights, find("x50-csp"), classes=3)
    options = ExportOptions(size=(128, 128), calibration=calibration, unjudged=True)
    made = export(weights, "cpu-ncnn-int8", tmp_path / "made", options)
    lines = (made.path / "model.ncnn.param").read_text(encoding="utf-8").splitlines()
    grouped = [line for line in lines if line.startswith("ConvolutionDepthWise ")]
    assert len(grouped) >= 16
    assert not [line for line in grouped if " 8=" in line]
    assert made.manifest.parity is not None
    assert made.manifest.parity.worst < 0.3


def test_what_check_says_of_convolutions_in_groups() -> None:
    def floats(name: str) -> int:
        graph = trace(build(find(name), 3, "plain", device="meta"), InputContract(64, 64))
        return sum("groups" in (in_float(each, graph) or ("", ""))[1] for each in graph.operations)

    assert floats("x50-csp") == 16 + 4 * 2  # one in each cell of backbone and neck
    assert floats("efficientnet-lite0-pan") == 0  # groups of one channel are integers
