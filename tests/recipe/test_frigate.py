"""Frigate: the network with the decoding behind it gives the detector's boxes, in the form that Frigate reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend.registry import open_session
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.recipe import write_recipe
from edgeyolo.runtime.postprocess import DISPLAY, postprocess
from edgeyolo.runtime.preprocess import preprocess

pytest.importorskip("onnx", reason="needs the export extra")
yaml = pytest.importorskip("yaml", reason="needs the eval extra")


def test_the_network_gives_the_boxes_of_the_detector(
    exported: Callable[..., Artifact], farthest: Callable[..., float], tmp_path: Path
) -> None:
    artifact = exported("cpu-onnx-fp32")
    manifest = artifact.manifest
    folder = write_recipe(artifact, "frigate", tmp_path / "recipe")
    config = yaml.safe_load((folder / "config.yml").read_text())
    model = config["model"]
    assert (model["height"], model["width"]) == manifest.input.size
    assert (model["model_type"], model["input_tensor"], model["input_dtype"]) == (
        "yolo-generic",
        "nchw",
        "float",
    )
    assert model["input_pixel_format"] == "rgb" and [*config["detectors"].values()] == [{"type": "onnx"}]
    names = {key: folder / Path(model[key]).name for key in ("path", "labelmap_path")}
    assert names["labelmap_path"].read_text().splitlines() == list(manifest.class_names)

    batch, letterboxes = preprocess([make_scene(2, size=manifest.input.size).image], manifest.input)
    session = onnxruntime.InferenceSession(str(names["path"]), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {manifest.input.name: batch})
    cells = sum(np.prod(shape[2:]) for shape in manifest.output.shapes(1, manifest.input.size)) * 3
    assert output.shape == (1, 4 + len(manifest.class_names), cells) and output.dtype == np.float32
    rows = output[0].T
    score, label, conf = rows[:, 4:].max(1), rows[:, 4:].argmax(1), 0.05
    corners = np.column_stack([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2])
    height, width = manifest.input.size
    corners = corners.clip(0, [width, height, width, height])
    found = np.column_stack([corners, score, label])[score > conf]

    all_boxes = replace(DISPLAY, conf=conf, iou=1.0, max_det=10**6, max_candidates=10**6)
    with_session = open_session(artifact)
    expected = postprocess(with_session.run(batch), manifest.output, letterboxes, all_boxes)[0]
    with_session.close()
    wanted = np.column_stack([expected.xyxy, expected.confidence, expected.class_id])
    assert len(found) == len(wanted) > 5
    assert farthest(found, wanted) < 1e-3
