"""Judging an artifact whose device is absent, by its stand-in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import EdgeYoloError
from edgeyolo.evaluation.validate import open_to_judge
from edgeyolo.export import export


def test_an_artifact_of_this_machine_runs_on_its_own_runtime(small_artifact: Path) -> None:
    with open_to_judge(Artifact.open(small_artifact)) as (pipeline, stand_in):
        assert stand_in == ""
        pipeline([make_scene(0).image])
    with pytest.raises(EdgeYoloError, match="closed"):
        pipeline([make_scene(0).image])


def test_a_stand_in_is_named_and_gives_the_targets_numbers(small_weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    if registry.backends()["tensorrt"].can_run().ok:
        pytest.skip("TensorRT runs here, so nothing stands in for it")
    artifact = export(small_weights, "gpu-trt-fp16", tmp_path / "gpu")
    full = export(small_weights, "cpu-onnx-fp32", tmp_path / "cpu")
    image = make_scene(1).image
    with open_to_judge(artifact) as (half, stand_in), open_to_judge(full) as (single, _):
        assert "ONNX Runtime" in stand_in
        batch, _ = single.preprocess([image])
        rounded, exact = half.infer(batch)["p3"], single.infer(batch)["p3"]
    assert not np.array_equal(rounded, exact)  # the target's own rounding
    assert np.abs(rounded - exact).max() < 0.02 * np.abs(exact).max()
