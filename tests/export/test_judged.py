"""No gate passes on nothing: INT8 and suppression in the graph that nothing judged, ranges beyond float16."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the export extra")

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.manifest import Accuracy, Parity
from edgeyolo.backend import registry
from edgeyolo.backend.registry import open_calibration
from edgeyolo.errors import GateError
from edgeyolo.export import ExportOptions, export
from edgeyolo.export.judged import LEAST_DETECTIONS, missing_judge
from edgeyolo.runtime.postprocess_config import PostprocessConfig

MEASURED = Accuracy("cells", 72, 0.54, 0.53, 1.0, (0.4, 1.6), 0.95, allowed=1.0)
PARITY = Parity(0.5, {"p3": 0.1}, "4 pictures", 1.0, 0.85, LEAST_DETECTIONS)


@pytest.mark.parametrize(
    ("target", "detections", "accuracy", "judged"),
    [
        ("cpu-onnx-int8", LEAST_DETECTIONS, None, True),
        ("cpu-onnx-int8", LEAST_DETECTIONS - 1, None, False),
        ("cpu-onnx-int8", 0, MEASURED, True),
        ("cpu-onnx-int8", 0, replace(MEASURED, reference=0.01), False),  # one point, which may be lost whole
        ("cpu-onnx-int8", 0, replace(MEASURED, reference=0.0101), True),  # a little more than may be lost
        ("cpu-onnx-int8", 99, replace(MEASURED, reference=0.0), False),
        ("cpu-onnx-fp32", 0, None, True),
        ("cpu-onnx-fp32", 0, replace(MEASURED, reference=0.0), False),
    ],
)
def test_least_evidence_for_a_judgement(
    small_artifact: Path, target: str, detections: int, accuracy: Accuracy | None, judged: bool
) -> None:
    manifest = Artifact.open(small_artifact).manifest
    profile, _ = registry.find_target(target)
    reason = missing_judge(manifest, replace(PARITY, detections=detections), accuracy, profile)
    assert (reason == "") is judged


@pytest.fixture(scope="module")
def silent_weights(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network, sure that there is nothing anywhere."""
    import torch

    from edgeyolo.models import weights

    own = weights.load(small_weights)
    with torch.no_grad():
        for name, value in own.network.named_parameters():
            if name.startswith("outputs") and name.endswith("conv.bias"):
                value.view(3, 8)[:, 4] = -50
    path = tmp_path_factory.mktemp("silent") / "silent.safetensors"
    weights.save(path, own.network, own.class_names, {})
    return path


def test_int8_that_nothing_judges_fails_and_leaves_nothing(silent_weights: Path, tmp_path: Path) -> None:
    black = tmp_path / "black"
    black.mkdir()
    for index in range(3):
        cv2.imwrite(str(black / f"{index}.png"), np.full((96, 96, 3), index, np.uint8))
    options = ExportOptions(calibration=open_calibration(str(black), images=3))
    with pytest.raises(GateError, match="judged by nothing") as told:
        export(silent_weights, "cpu-onnx-int8", tmp_path / "made", options)
    assert told.value.exit_code == 4
    assert all(way in told.value.hint for way in ("--data", "--images", "--unjudged"))
    assert not (tmp_path / "made").exists()
    made = export(silent_weights, "cpu-onnx-int8", tmp_path / "made", replace(options, unjudged=True))
    assert Artifact.open(made.path).manifest.unjudged


def test_suppression_in_the_graph_that_nothing_judges_fails(silent_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="suppression in the graph was judged by nothing"):
        export(silent_weights, "cpu-onnx-fp32", tmp_path / "made", ExportOptions(nms=PostprocessConfig()))
    made = export(silent_weights, "cpu-onnx-fp32", tmp_path / "plain")  # raw maps are compared in any picture
    assert not Artifact.open(made.path).manifest.unjudged


@pytest.mark.parametrize(("changed", "refused"), [(1e-4, False), (np.nextafter(1e-4, 1), True)])
def test_reparameterization_may_change_a_ten_thousandth(
    small_weights: Path, monkeypatch: pytest.MonkeyPatch, changed: float, refused: bool
) -> None:
    from edgeyolo.export.exporter import prepared
    from edgeyolo.models import reparameterize as folding

    exact = folding.reparameterize

    def fold(network: Any) -> Any:
        made = exact(network)
        levels = (folding.Deviation(0, 0.0, 0.0), folding.Deviation(1, 0.0, float(changed)))
        return replace(made, report=replace(made.report, levels=levels))

    monkeypatch.setattr(folding, "reparameterize", fold)
    told = pytest.raises(GateError, match=r"0\.0001 is allowed") if refused else nullcontext()
    with told, prepared(small_weights, "cpu-onnx-fp32", ExportOptions()):
        pass


@pytest.mark.parametrize(("value", "refused"), [(65504.0, False), (65505.0, True), (float("nan"), True)])
def test_the_largest_float16_is_still_within_reach(
    value: float, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeyolo.export import half_range

    profile, _ = registry.find_target("cuda-torch-fp16")
    monkeypatch.setattr(half_range, "reach", lambda *_: half_range.Reach(value, "stem.0", "add"))
    source = SimpleNamespace(network=None, input=None)
    told = pytest.raises(GateError, match="ends at 65504") if refused else nullcontext()
    with told:
        half_range.require_range(source, profile, [], "one picture")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def loud_weights(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Path]:
    """The small network with activations of the stem that many times as large: the convolution behind divides again."""
    import torch

    from edgeyolo.models import weights

    def make(factor: float) -> Path:
        own = weights.load(small_weights)
        with torch.no_grad():
            state = dict(own.network.named_parameters())
            state["stem.0.branch.norm.weight"].mul_(factor)
            state["stem.0.branch.norm.bias"].mul_(factor)
            state["backbone.0.down.conv.branch.conv.weight"].div_(factor)
        path = tmp_path_factory.mktemp("loud") / "loud.safetensors"
        weights.save(path, own.network, own.class_names, {})
        return path

    return make


@pytest.mark.parametrize(
    "target",
    ["gpu-openvino-fp16", "ncs-openvino-fp16", "gpu-trt-fp16", "cuda-torch-fp16", "hexagon-qnn-fp16"],
)
def test_activations_beyond_float16_are_refused_wherever_the_device_computes_in_it(
    loud_weights: Callable[[float], Path], tmp_path: Path, target: str
) -> None:
    _, backend = registry.find_target(target)
    registry_says = backend.can_compile()
    if not registry_says.ok:
        pytest.skip(registry_says.reason)
    with pytest.raises(GateError, match=r"computes in float16, which ends at 65504; stem\.0"):
        export(loud_weights(1e5), target, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_integers_of_the_npu_have_floats_between_them(
    loud_weights: Callable[[float], Path], tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    calibration = open_calibration(str(_scenes(tmp_path)), images=2)
    with pytest.raises(GateError, match="computes in float16"):
        export(
            loud_weights(1e5), "npu-openvino-int8", tmp_path / "made", ExportOptions(calibration=calibration)
        )


def _scenes(folder: Path) -> Path:
    from edgeyolo.datasets.scenes import make_scene

    for seed in range(2):
        cv2.imwrite(str(folder / f"{seed}.png"), make_scene(seed).image)
    return folder


def test_the_reach_is_the_largest_value_and_float32_may_have_it(
    loud_weights: Callable[[float], Path], small_weights: Path, tmp_path: Path
) -> None:
    from edgeyolo.datasets.scenes import make_scene
    from edgeyolo.export.exporter import prepared
    from edgeyolo.export.half_range import reach

    found = []
    for weights in (small_weights, loud_weights(1e5)):
        with prepared(weights, "cpu-onnx-fp32", ExportOptions()) as source:
            found.append(reach(source.network, [make_scene(0).image], source.input))
    assert found[0].value < 1000
    assert found[1].value > 65504
    assert found[1].module.startswith("stem.0")
    export(loud_weights(1e5), "cpu-onnx-fp32", tmp_path / "made")
