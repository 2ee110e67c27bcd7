"""Suppression by TensorRT's plugin and pictures as input, on simulated devices of three generations."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from tensorrt_fakes.machine import FakeGpu, Machine
from tensorrt_fakes.scenario import Install

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.detector.adopt import template
from edgeyolo.errors import RuntimeMissingError
from edgeyolo.export import ExportOptions, export
from edgeyolo.runtime.postprocess_config import PostprocessConfig
from edgeyolo.runtime.preprocess import preprocess
from edgeyolo_tensorrt.engine.builder import build_engine
from edgeyolo_tensorrt.options import DeviceOptions
from edgeyolo_tensorrt.package.recipe import Recipe


@pytest.fixture(scope="module")
def suppressing(
    small_weights: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Artifact:
    options = ExportOptions(nms=PostprocessConfig(conf=0.05, max_det=50), input="uint8", batch=2)
    return export(small_weights, "jetson-trt-fp16", tmp_path_factory.mktemp("edges") / "artifact", options)


def test_the_package_says_what_it_takes_gives_and_needs(suppressing: Artifact) -> None:
    manifest = suppressing.manifest
    assert (manifest.input.dtype, manifest.input.layout, manifest.input.color_order) == (
        "uint8",
        "NHWC",
        "BGR",
    )
    assert manifest.output.kind == "detections"
    assert manifest.parity is not None and manifest.parity.detections > 0
    recipe = Recipe.read(suppressing.file("build.json"))
    assert (recipe.image, recipe.plugins) == ((96, 96, 3), ("EfficientNMS_TRT",))
    model = onnx.load(suppressing.file(".onnx"))
    assert [node.op_type for node in model.graph.node if "images" in node.input] == ["Cast"]
    kinds = {node.op_type for node in model.graph.node if node.op_type.startswith(("NonMax", "Efficient"))}
    assert kinds == {"EfficientNMS_TRT"}


@pytest.mark.parametrize(
    ("version", "cuda"),
    [("8.5.3.1", "pycuda"), ("10.3.0", "cuda-python 12.6.0"), ("11.4.0.106", "cuda-python 13.4.4")],
)
def test_an_engine_gives_what_the_stand_in_gives(
    suppressing: Artifact, device: Install, version: str, cuda: str
) -> None:
    batch = preprocess([make_scene(seed).image for seed in (3, 4)], suppressing.manifest.input)[0]
    expected = registry.backends()["tensorrt"].open_for_parity(suppressing).run(batch)  # type: ignore[attr-defined]
    device(FakeGpu("Orin", (8, 7)), tensorrt=version, cuda=cuda)
    session = registry.open_session(suppressing)
    for _ in range(2):
        found = session.run(batch)
        for name in suppressing.manifest.output.names:
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], expected[name], atol=1e-4)
    session.close()
    assert expected["count"].min() > 0


def test_an_engine_of_others_that_suppresses_is_looked_into(
    suppressing: Artifact, device: Install, tmp_path: Path
) -> None:
    device(FakeGpu("Orin", (8, 7)))
    engine = Path(shutil.copy(build_engine(suppressing, DeviceOptions()).path, tmp_path / "m.engine"))
    device(FakeGpu("Orin", (8, 7)))  # another process, that has loaded no plugins yet
    _, blank = template(engine)
    assert blank["output"]["kind"] == "detections"
    assert blank["output"]["names"] == list(suppressing.manifest.output.names)


def test_plugins_that_do_not_load_are_named(suppressing: Artifact, device: Install) -> None:
    machine = device(FakeGpu("Orin", (8, 7)))
    assert isinstance(machine, Machine)
    import tensorrt

    tensorrt.init_libnvinfer_plugins = lambda logger, namespace: False
    with pytest.raises(RuntimeMissingError, match="does not load its plugins"):
        registry.open_session(suppressing)
