"""DeepStream: nvinfer's configuration, and the parser, compiled here against the part of NVIDIA's header it uses."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from configparser import ConfigParser
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import GraphDetections, RawMaps
from edgeyolo.backend import registry
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.recipe import write_recipe
from edgeyolo.runtime.postprocess import DISPLAY, postprocess
from edgeyolo.runtime.postprocess_config import settle
from edgeyolo.runtime.preprocess import preprocess

Exported = Callable[..., Artifact]


def read(folder: Path) -> ConfigParser:
    config = ConfigParser(interpolation=None, strict=True)
    config.read_string((folder / "config_infer_primary.txt").read_text())
    return config


@pytest.mark.parametrize("graph", [False, True], ids=["raw maps", "boxes"])
def test_the_configuration_says_what_the_manifest_says(
    graph: bool, exported: Exported, tmp_path: Path
) -> None:
    artifact = exported("gpu-trt-fp16", graph=graph)
    folder = write_recipe(artifact, "deepstream", tmp_path / "recipe")
    manifest, config = artifact.manifest, read(folder)
    of = config["property"]
    assert (folder / of["onnx-file"]).read_bytes() == artifact.file(".onnx").read_bytes()
    assert (folder / of["labelfile-path"]).read_text().splitlines() == list(manifest.class_names)
    assert of["infer-dims"] == f"3;{manifest.input.height};{manifest.input.width}"
    assert float(of["net-scale-factor"]) == manifest.input.scale
    assert (of["maintain-aspect-ratio"], of["symmetric-padding"], of["model-color-format"]) == ("1", "1", "0")
    assert of["network-mode"] == "2" and int(of["num-detected-classes"]) == len(manifest.class_names)
    assert of["output-blob-names"].split(";") == list(manifest.output.names)
    assert int(of["batch-size"]) == manifest.input.batch
    limits = config["class-attrs-all"]
    assert of["cluster-mode"] == ("4" if graph else "2")
    assert float(limits["pre-cluster-threshold"]) == settle(manifest.output).conf
    assert graph or float(limits["nms-iou-threshold"]) == DISPLAY.iou
    assert "black" in (folder / "README.md").read_text()
    script = (folder / "build.sh").read_text()
    assert (
        f"$PWD/{of['model-engine-file']}.new" in script and of["custom-lib-path"].removeprefix("./") in script
    )
    subprocess.run(["sh", "-n", folder / "build.sh"], check=True)


# The declarations of nvdsinfer_custom_impl.h and nvdsinfer.h that the parser uses, by NVIDIA's documentation.
HEADER = """
#pragma once
#include <vector>
struct NvDsInferDims { unsigned int numDims; unsigned int d[8]; unsigned int numElements; };
struct NvDsInferLayerInfo {
    int dataType; NvDsInferDims inferDims; int bindingIndex; const char* layerName; void* buffer; int isInput;
};
struct NvDsInferNetworkInfo { unsigned int width, height, channels; };
struct NvDsInferObjectDetectionInfo {
    unsigned int classId; float left, top, width, height; float detectionConfidence;
};
struct NvDsInferParseDetectionParams {
    unsigned int numClassesConfigured;
    std::vector<float> perClassPreclusterThreshold;
    std::vector<float> perClassPostclusterThreshold;
};
typedef bool (*NvDsInferParseCustomFunc)(std::vector<NvDsInferLayerInfo> const&, NvDsInferNetworkInfo const&,
    NvDsInferParseDetectionParams const&, std::vector<NvDsInferObjectDetectionInfo>&);
#define CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(name) static NvDsInferParseCustomFunc check_##name = name;
"""

CALLER = """
#include <algorithm>
#include "parser.cpp"
extern "C" int call(int count, const char** names, void** buffers, int height, int width, float conf, float* out,
                    int most) {
    (void)check_NvDsInferParseEdgeyolo;
    std::vector<NvDsInferLayerInfo> layers(count);
    for (int i = 0; i < count; ++i) { layers[i].layerName = names[i]; layers[i].buffer = buffers[i]; }
    NvDsInferNetworkInfo network{static_cast<unsigned>(width), static_cast<unsigned>(height), 3};
    NvDsInferParseDetectionParams params{YOLO_CLASSES, std::vector<float>(YOLO_CLASSES, conf), {}};
    std::vector<NvDsInferObjectDetectionInfo> objects;
    if (!NvDsInferParseEdgeyolo(layers, network, params, objects)) return -1;
    for (int i = 0; i < std::min<int>(most, objects.size()); ++i) {
        const auto& o = objects[i];
        const float row[6] = {o.left, o.top, o.left + o.width, o.top + o.height, o.detectionConfidence,
                              float(o.classId)};
        std::copy(row, row + 6, out + 6 * i);
    }
    return objects.size();
}
"""


def parse(
    folder: Path, arrays: dict[str, NDArray], size: tuple[int, int], conf: float
) -> NDArray[np.float32]:
    """Compile the recipe's parser and let it read arrays; rows x1, y1, x2, y2, confidence, class."""
    (folder / "nvdsinfer_custom_impl.h").write_text(HEADER)
    (folder / "caller.cpp").write_text(CALLER)
    words = ["g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I."]
    subprocess.run([*words, "caller.cpp", "-o", "caller.so"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "caller.so"))
    names = (ctypes.c_char_p * len(arrays))(*(name.encode() for name in arrays))
    buffers = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays.values()))
    out = np.zeros((20000, 6), np.float32)
    count = library.call(
        len(arrays),
        names,
        buffers,
        *size,
        ctypes.c_float(conf),
        out.ctypes.data_as(ctypes.c_void_p),
        len(out),
    )
    assert count >= 0
    return out[:count]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_parser_decodes_raw_maps_as_the_detector_does(
    exported: Exported, farthest: Callable[..., float], tmp_path: Path
) -> None:
    artifact = exported("gpu-trt-fp16")
    manifest = artifact.manifest
    folder = write_recipe(artifact, "deepstream", tmp_path / "recipe")
    batch, boxes = preprocess([make_scene(1, size=manifest.input.size).image], manifest.input)
    session, _ = registry.open_for_parity(artifact)
    maps = session.run(batch)
    conf = 0.05
    assert isinstance(manifest.output, RawMaps)
    config = replace(DISPLAY, conf=conf, iou=1.0, max_det=10**6, max_candidates=10**6)
    found = postprocess(maps, manifest.output, boxes, config)[0]
    arrays = {name: np.ascontiguousarray(maps[name][0]) for name in reversed(manifest.output.names)}
    rows = parse(folder, arrays, manifest.input.size, conf)
    whole = (found.xyxy[:, 2:] - found.xyxy[:, :2] >= 1).all(1)
    expected = np.column_stack([found.xyxy, found.confidence, found.class_id])[whole]
    assert len(rows) == len(expected) > 5
    assert farthest(rows, expected) < 1e-2


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_parser_reads_boxes_that_the_graph_suppressed(exported: Exported, tmp_path: Path) -> None:
    artifact = exported("gpu-trt-fp16", graph=True)
    given = artifact.manifest.output
    assert isinstance(given, GraphDetections)
    folder = write_recipe(artifact, "deepstream", tmp_path / "recipe")
    boxes = np.zeros((given.max_det, 4), np.float32)
    boxes[:4] = [[1, 2, 30, 40], [-5, 3, 20, 9999], [7, 7, 7.5, 20], [4, 4, 9, 9]]
    scores = np.zeros(given.max_det, np.float32)
    scores[:4] = [0.9, 0.8, 0.7, 0.6]
    labels = np.full(given.max_det, 2, np.int32)
    arrays = {"count": np.array([3], np.int32), "boxes": boxes, "scores": scores, "labels": labels}
    rows = parse(folder, arrays, artifact.manifest.input.size, 0.25)
    height = artifact.manifest.input.height
    assert np.allclose(rows, [[1, 2, 30, 40, 0.9, 2], [0, 3, 20, height, 0.8, 2]])
