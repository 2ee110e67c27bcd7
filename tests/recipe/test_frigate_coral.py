"""Frigate on a Coral: the detector of the recipe, run as Frigate runs it but on the CPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.recipe import write_recipe
from edgeyolo.recipe.frigate import FRIGATE
from edgeyolo.recipe.frigate_coral import PLUGIN
from edgeyolo.runtime.postprocess import DISPLAY, postprocess
from edgeyolo.runtime.preprocess import preprocess

yaml = pytest.importorskip("yaml", reason="needs the eval extra")


@pytest.fixture(scope="module")
def artifact(calibration: CalibrationSource, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    from edgeyolo.export import ExportOptions, export
    from edgeyolo.models.sample import sample_weights

    _, backend = registry.find_target("edgetpu-tflite-int8")
    if not (ready := backend.can_compile()).ok:
        pytest.skip(f"edgetpu-tflite-int8: {ready.reason}")
    place = tmp_path_factory.mktemp("coral")
    options = ExportOptions(calibration=calibration, size=(128, 128))
    weights = sample_weights(place / "small.safetensors")
    return export(weights, "edgetpu-tflite-int8", place / "artifact", options)


@pytest.fixture
def frigate(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The two modules of Frigate's that a detector imports."""
    api, config = (
        ModuleType("frigate.detectors.detection_api"),
        ModuleType("frigate.detectors.detector_config"),
    )
    api.DetectionApi = type("DetectionApi", (), {})  # type: ignore[attr-defined]
    config.BaseDetectorConfig = type("BaseDetectorConfig", (), {})  # type: ignore[attr-defined]
    for name in ("frigate", "frigate.detectors"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for module in (api, config):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    yield


@pytest.mark.usefixtures("frigate")
@pytest.mark.parametrize("least", [0.4, 0.05])
def test_the_detector_finds_what_ours_finds(
    artifact: Artifact, least: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_recipe(artifact, "frigate", tmp_path / "recipe")
    config = yaml.safe_load((folder / "config.yml").read_text())
    assert (config["model"]["height"], config["model"]["width"]) == artifact.manifest.input.size
    assert [each["type"] for each in config["detectors"].values()] == ["edgeyolo_coral"]
    assert (folder / "labelmap.txt").read_text().splitlines() == list(artifact.manifest.class_names)

    names: dict[str, Any] = {"__name__": "edgeyolo_coral"}
    exec(compile((folder / PLUGIN).read_text(), PLUGIN, "exec"), names)
    names["LEAST"] = least
    model = SimpleNamespace(path=str(folder / "model.tflite"))
    detector = names["EdgeyoloCoral"](SimpleNamespace(model=model, device="cpu"))
    image = make_scene(2, size=artifact.manifest.input.size).image
    rows = detector.detect_raw(np.ascontiguousarray(image[None, ..., ::-1]))
    assert rows.shape == (20, 6) and rows.dtype == np.float32

    session, _ = registry.open_for_parity(artifact)
    batch, boxes = preprocess([image], artifact.manifest.input)
    found = postprocess(
        session.run(batch), artifact.manifest.output, boxes, replace(DISPLAY, conf=least, max_det=20)
    )[0]
    session.close()
    count = len(found)
    assert count == np.count_nonzero(rows[:, 1]) and (count or least == 0.4)
    height, width = artifact.manifest.input.size
    corners = rows[:count, [3, 2, 5, 4]] * [width, height, width, height]
    np.testing.assert_allclose(rows[:count, 1], found.confidence, atol=1e-6)
    order = [np.lexsort((*each.T, -score.round(6))) for each, score in
             ((corners.round(2), rows[:count, 1]), (found.xyxy.round(2), found.confidence))]  # fmt: skip
    np.testing.assert_allclose(corners[order[0]], found.xyxy[order[1]], atol=1e-2)


def test_an_artifact_that_is_not_compiled_says_how(artifact: Artifact, tmp_path: Path) -> None:
    import subprocess

    folder = write_recipe(artifact, "frigate", tmp_path / "recipe")
    if "model_edgetpu.tflite" in artifact.manifest.files:
        assert (folder / "model_edgetpu.tflite").is_file()
        return
    assert "edgetpu_compiler model.tflite" in (folder / "README.md").read_text()
    done = subprocess.run([folder / "check.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "edgetpu_compiler" in done.stderr


def test_what_the_detector_cannot_read_is_refused(artifact: Artifact) -> None:
    tall = replace(artifact.manifest, input=replace(artifact.manifest.input, height=96))
    refused = FRIGATE.misfit(tall)
    assert refused is not None and "square" in refused[0] and "edgetpu-tflite-int8" in refused[1]
    assert FRIGATE.misfit(artifact.manifest) is None
