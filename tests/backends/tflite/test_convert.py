"""Networks become float32 TFLite files that compute the same, channels last, with no leftovers of the conversion."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeyolo.export.parity_gate import deviations, reference_maps
from edgeyolo.export.source import NetworkSource

torch = pytest.importorskip("torch", reason="needs the tflite extra")

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeyolo.models.network import Network


def run(model: bytes, batch: np.ndarray) -> dict[str, np.ndarray]:
    """The file in the plain interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    interpreter.set_tensor(entry["index"], batch)
    interpreter.invoke()
    return {item["name"]: interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()}


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(3).random(shape, dtype=np.float32)


def deviation(convert: ModuleType, source: NetworkSource, model: bytes) -> float:
    given, output = convert.contracts(source)
    batch = noise(given.shape())
    found = run(model, batch)
    assert tuple(found) == output.names  # no auxiliary outputs, finest first
    return max(deviations(reference_maps(source.network, batch, given, output), found).values())


def test_the_file_computes_what_torch_computes(
    convert: ModuleType, source: NetworkSource, float_model: bytes
) -> None:
    assert deviation(convert, source, float_model) < 1e-5


def test_a_rectangle_and_leaky_relu(
    convert: ModuleType, leaky_source: NetworkSource, leaky_model: bytes
) -> None:
    assert deviation(convert, leaky_source, leaky_model) < 1e-5
    assert run(leaky_model, noise((1, 64, 96, 3)))["p3"].shape == (1, 8, 12, 24)


def test_the_contracts_are_channels_last(convert: ModuleType, source: NetworkSource) -> None:
    given, output = convert.contracts(replace(source, input=replace(source.input, dynamic_batch=True)))
    assert (given.layout, given.dtype, given.dynamic_batch) == ("NHWC", "float32", False)
    assert output.layout == "NHWC"


def test_operators_are_the_networks_own(float_model: bytes) -> None:
    from edgeyolo_tflite import flatbuffer

    model = flatbuffer.read(float_model)
    kinds = Counter(kind for kind, _ in flatbuffer.operators(model))
    assert set(kinds) == {
        "PAD",
        "CONV_2D",
        "LOGISTIC",
        "MUL",
        "CONCATENATION",
        "MAX_POOL_2D",
        "RESIZE_NEAREST_NEIGHBOR",
    }
    assert kinds["LOGISTIC"] == kinds["MUL"] == kinds["CONV_2D"] - 3  # SiLU behind all but the outputs


def test_enlarging_starts_at_corners_and_takes_the_same_pixels(float_model: bytes) -> None:
    from edgeyolo_tflite import flatbuffer

    model = flatbuffer.read(float_model)
    found = [each for kind, each in flatbuffer.operators(model) if kind == "RESIZE_NEAREST_NEIGHBOR"]
    assert len(found) == 2
    for operator in found:
        assert not operator.builtinOptions.halfPixelCenters
        assert model.operatorCodes[operator.opcodeIndex].version == 1


def test_a_factor_that_is_not_whole_keeps_its_centres(convert: ModuleType, float_model: bytes) -> None:
    """There the two conventions take other pixels: floor((i + 0.5) * 2 / 3) is not floor(i * 2 / 3)."""
    from edgeyolo_tflite import flatbuffer

    model = flatbuffer.read(float_model)
    found = [each for kind, each in flatbuffer.operators(model) if kind == "RESIZE_NEAREST_NEIGHBOR"]
    for operator in found:
        operator.builtinOptions.halfPixelCenters = True
    (enlarged,) = flatbuffer.tensors(model, found[0].outputs)
    enlarged.shape = [1, 7, *enlarged.shape[2:]]
    convert.use_plain_resize(model)
    assert all(operator.builtinOptions.halfPixelCenters for operator in found)


def test_edges_have_the_names_of_the_contract(float_model: bytes) -> None:
    from edgeyolo_tflite import flatbuffer

    model = flatbuffer.read(float_model)
    graph, (signature,) = model.subgraphs[0], model.signatureDefs
    names = [flatbuffer.name(each) for each in flatbuffer.tensors(model, [*graph.inputs, *graph.outputs])]
    assert names == ["images", "p3", "p4", "p5"]
    assert [flatbuffer.name(each) for each in signature.outputs] == ["p3", "p4", "p5"]


def test_the_file_says_what_its_maps_mean(float_model: bytes, source: NetworkSource) -> None:
    from edgeyolo_tflite import flatbuffer

    model = flatbuffer.read(float_model)
    (entry,) = [each for each in model.metadata if flatbuffer.name(each) == "edgeyolo"]
    said = json.loads(bytes(model.buffers[entry.buffer].data))
    assert said["class_names"] == list(source.class_names)
    assert said["strides"] == [8, 16, 32]
    assert tuple(tuple(map(tuple, level)) for level in said["anchors"]) == source.output.anchors
    assert "channels last" in said["output"]


def test_the_network_is_left_as_it_was(source: NetworkSource, float_model: bytes) -> None:
    assert float_model
    assert not source.network.training
    assert all(value.is_leaf for value in source.network.parameters())


def alive(name: str, classes: int = 80, width: float = 1) -> Network:
    """A network of the family with weights under which values neither vanish nor explode."""
    from edgeyolo.models.build import build
    from edgeyolo.models.scaling import scale_width
    from edgeyolo.models.specs import get

    torch.manual_seed(0)
    network = build(scale_width(get(name), width), classes, "plain").eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, a=0.3)
    return network


@pytest.mark.slow
def test_yolov7_tiny_silu(convert: ModuleType, source_of: Callable[..., NetworkSource]) -> None:
    source = source_of(alive("yolov7-tiny-silu"), 320)
    model = convert.to_flatbuffer(source)
    assert deviation(convert, source, model) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["yolov7-tiny", "yolov7", "yolov7x", "yolov7-w6", "yolov7-e6", "yolov7-d6", "yolov7-e6e"]
)
def test_the_rest_of_the_family(
    name: str, convert: ModuleType, source_of: Callable[..., NetworkSource]
) -> None:
    source = source_of(alive(name, classes=3, width=1 / 4), 128)
    model = convert.to_flatbuffer(source)
    assert deviation(convert, source, model) < 1e-5
