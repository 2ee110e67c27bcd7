"""The list of operations is that of the ONNX file, and costs nothing to make."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the export extra")

import torch

from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.export.source import NetworkSource
from edgeyolo.export.trace import trace
from edgeyolo.models.build import build
from edgeyolo.models.complexity import describe
from edgeyolo.models.scaling import scale_width
from edgeyolo.models.specs import get, names, with_activation


def cases() -> list[Any]:
    fast = ("yolov7-tiny",)
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names()]


@pytest.mark.parametrize("name", cases())
def test_operations_and_shapes_are_those_of_the_onnx_file(name: str, tmp_path: Path) -> None:
    import onnx

    network = build(scale_width(get(name), 1 / 16), 3, form="plain").eval()
    spec, contract = network.spec, InputContract(128, 192)
    levels = tuple(f"p{stride.bit_length() - 1}" for stride in spec.strides)
    raw = RawMaps(names=levels, strides=spec.strides, anchors=spec.anchors, classes=3)
    model = onnx.load(NetworkSource(network, contract, raw, ("a", "b", "c"), tmp_path).onnx(opset=18))
    graph = trace(network, contract)

    counted = Counter(node.op_type for node in model.graph.node)
    # The file has one slice over two axes for two over one each.
    assert graph.counts() - Counter(Slice=graph.counts()["Slice"]) == counted - Counter(
        Slice=counted["Slice"]
    )
    assert ("Slice" in graph.counts()) == ("Slice" in counted)
    assert tuple(graph.shapes[each] for each in graph.outputs) == raw.shapes(1, contract.size)
    typed = onnx.shape_inference.infer_shapes(model)
    known = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in typed.graph.value_info}
    kept = [node for node in model.graph.node if node.op_type != "Slice" and node.output[0] in known]
    made = Counter(tuple(known[node.output[0]]) for node in kept)
    inner = [each for each in graph.operations if each.kind != "Slice" and each.output not in graph.outputs]
    assert made == Counter(each.shape for each in inner)
    assert graph.parameters == sum(each.numel() for each in network.parameters())


def test_weights_are_not_needed() -> None:
    graph = trace(build("yolov7-e6e", form="plain", device="meta"), InputContract(1280, 1280))
    assert graph.parameters == describe("yolov7-e6e").params
    assert graph.shapes[graph.outputs[-1]] == (1, 255, 20, 20)
    assert graph.largest_weight == 0.0


def test_peak_of_live_tensors() -> None:
    """The stem of yolov7-tiny-silu: its map, the sigmoid and their product, 32 channels at half the size."""
    graph = trace(build("yolov7-tiny-silu", form="plain", device="meta"), InputContract(320, 320))
    assert graph.peak_elements() == 3 * 32 * 160 * 160


def test_operations_carry_what_rules_ask_for() -> None:
    graph = trace(build("yolov7-w6", form="plain", device="meta"), InputContract(128, 128))
    slices = [each for each in graph.operations if each.kind == "Slice"]
    assert {each.attributes["steps"] for each in slices} == {2}
    assert len(slices) == 6  # two of rows, and of each two of columns
    (first, *_) = [each for each in graph.operations if each.kind == "Conv"]
    assert first.name == "stem.1.conv"
    assert first.attributes["kernel_shape"] == (3, 3)
    (up, *_) = [each for each in graph.operations if each.kind == "Resize"]
    assert up.attributes["scales"] == (2.0, 2.0)
    (pool, *_) = [each for each in graph.operations if each.kind == "MaxPool"]
    assert pool.attributes == {"kernel_shape": (5, 5), "strides": (1, 1), "pads": (2, 2)}


def test_an_operation_that_onnx_does_not_name_keeps_its_own() -> None:
    class Odd(torch.nn.Module):
        def forward(self, images: Any) -> Any:
            return (torch.cosh(images),)

    (only,) = trace(Odd(), InputContract(32, 32)).operations
    assert only.kind == "aten::cosh"


def test_relu_is_traced() -> None:
    network = build(with_activation(get("yolov7-tiny"), "relu"), form="plain", device="meta")
    counts = trace(network, InputContract(64, 64)).counts()
    assert (counts["Relu"], counts["LeakyRelu"]) == (55, 0)


@pytest.mark.parametrize(
    "module",
    [
        torch.nn.Conv2d(3, 4, (3, 1), stride=(2, 1), padding=(1, 0), dilation=(2, 3)),
        torch.nn.Conv2d(3, 6, 5, stride=3, groups=3),
        torch.nn.ConvTranspose2d(3, 4, 3, stride=2),
        torch.nn.MaxPool2d(3, stride=2, padding=1),
        torch.nn.MaxPool2d(3, stride=2, dilation=2),
        torch.nn.MaxPool2d(2, ceil_mode=True),
        torch.nn.Upsample(scale_factor=(2, 3)),
    ],
)
def test_shapes_are_those_that_torch_computes(module: torch.nn.Module) -> None:
    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, images: Any) -> Any:
            return (self.inner(images) * 2,)

    contract = InputContract(97, 131)
    graph = trace(Whole(), contract)
    assert graph.shapes[graph.outputs[0]] == tuple(module(torch.zeros(contract.shape())).shape)
