"""build.json and the facts behind it."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.errors import DamagedFileError
from edgeyolo_tensorrt.facts import GENERATIONS, generation_of, supports_dla, version_tuple
from edgeyolo_tensorrt.library import unsupported_gpu
from edgeyolo_tensorrt.package.recipe import Recipe, graph_types

RECIPE = Recipe("jetson-trt-fp16", "fp16", ("float16", "float32"), "images", (3, 384, 640), (1, 4, 32))


def test_a_recipe_reads_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "build.json"
    path.write_text(RECIPE.to_json())
    assert Recipe.read(path) == RECIPE


def test_the_recipe_tells_trtexec_the_same(package: Callable[..., Artifact]) -> None:
    commands = json.loads(RECIPE.to_json())["trtexec"]
    for text in commands.values():
        assert (
            "--minShapes=images:1x3x384x640 --optShapes=images:4x3x384x640 --maxShapes=images:32x3x384x640"
            in text
        )
        assert "--noTF32" in text
    assert "--fp16" in commands["8"]
    assert "--stronglyTyped" in commands["10"]
    assert "--fp16" not in commands["10"] + commands["11"]
    fixed = json.loads(package("jetson-trt-fp32").file("build.json").read_text())["trtexec"]
    assert "Shapes" not in fixed["8"]
    assert "--fp16" not in fixed["8"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "other/2"}, "schema 'other/2'"),
        ({"extra": 1}, r"unknown \['extra'\]"),
        ({"batch": None}, None),
        ("[]", "schema None"),
        ("{", "not JSON"),
    ],
)
def test_a_recipe_of_another_kind_is_refused(tmp_path: Path, change: object, message: str | None) -> None:
    path = tmp_path / "build.json"
    data = json.loads(RECIPE.to_json())
    if isinstance(change, dict):
        data.update(change)
        if message is None:
            del data["batch"]
            message = r"missing fields \['batch'\]"
    path.write_text(change if isinstance(change, str) else json.dumps(data))
    with pytest.raises(DamagedFileError, match=message):
        Recipe.read(path)


def test_the_types_come_from_the_graph() -> None:
    """A graph with Q/DQ nodes is just another graph."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    weights = [
        helper.make_tensor("s", TensorProto.FLOAT, [], [0.1]),
        helper.make_tensor("z", TensorProto.INT8, [], [0]),
    ]
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [1])], weights
    )
    assert graph_types(helper.make_model(graph)) == ("float32", "int8")


def test_packages_say_what_they_need(package: Callable[..., Artifact]) -> None:
    half = Recipe.read(package("jetson-trt-fp16", dynamic=True).file("build.json"))
    assert (half.types, half.batch, half.dynamic) == (("float16", "float32"), (1, 1, 32), True)
    exact = Recipe.read(package("jetson-trt-fp32").file("build.json"))
    assert (exact.types, exact.batch, exact.tf32, exact.tensorrt_below) == (
        ("float32",),
        (1, 1, 1),
        False,
        "",
    )
    volta = Recipe.read(package("v100-trt-fp16").file("build.json"))
    assert volta.tensorrt_below == "10.5"
    assert "NVIDIA Volta support" in volta.reason


def test_packages_are_the_same_bytes_each_time(package: Callable[..., Artifact], tmp_path: Path) -> None:
    first = package("jetson-trt-fp16")
    model = onnx.load(first.file(".onnx"))
    assert model.SerializeToString(deterministic=True) == first.file(".onnx").read_bytes()
    assert Recipe.read(first.file("build.json")).to_json() == first.file("build.json").read_text()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("10.14.1.48.post1", (10, 14, 1, 48)), ("8.5.2-1", (8, 5, 2)), ("11", (11,)), ("", ()), ("dev", ())],
)
def test_versions_become_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert version_tuple(text) == numbers


def test_volta_ends_with_10_4() -> None:
    assert unsupported_gpu((10, 4, 0), "Tesla V100", (7, 0)) == ""
    assert "10.5" in unsupported_gpu((10, 5), "Tesla V100", (7, 0))
    assert unsupported_gpu((11, 4), "Orin", (8, 7)) == ""
    assert "Maxwell" in unsupported_gpu((10, 3), "Jetson Nano", (5, 3))
    assert unsupported_gpu((8, 5, 2), "Xavier", (7, 2)) == ""


def test_generations_do_not_overlap_and_name_their_source() -> None:
    for first, second in pairwise(GENERATIONS):
        assert first.highest < second.lowest
        assert first.removed < second.removed
    assert all("TensorRT" in item.source for item in GENERATIONS)
    assert generation_of((9, 0)) is None


@pytest.mark.parametrize(
    ("version", "served"),
    [((8, 5, 2), True), ((10, 7), True), ((10, 8), False), ((11, 4), False), ((11, 4, 1), True)],
)
def test_dla_is_served_by_some_versions(version: tuple[int, ...], served: bool) -> None:
    assert supports_dla(version) is served
