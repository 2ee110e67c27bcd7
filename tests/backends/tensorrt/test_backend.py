"""The backend as the core sees it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tensorrt_fakes.scenario import Install, Package, batch_for, expected

from edgeyolo.backend import registry
from edgeyolo.backend.interface import Backend
from edgeyolo.detector.detector import Detector
from edgeyolo.errors import DamagedFileError, GateError, RuntimeMissingError, UsageError
from edgeyolo.export import export
from edgeyolo.runtime.verify import verify
from edgeyolo_tensorrt import TensorrtBackend
from edgeyolo_tensorrt.options import DeviceOptions
from edgeyolo_tensorrt.run.stand_in import StandIn

TARGETS = ["jetson-trt-fp32", "jetson-trt-fp16", "v100-trt-fp16", "gpu-trt-fp16"]


def test_the_targets_are_offered() -> None:
    backend = registry.backends()["tensorrt"]
    assert isinstance(backend, TensorrtBackend)
    assert isinstance(backend, Backend)
    integers = [profile for profile in backend.profiles if profile.calibrated]
    assert [str(profile.target) for profile in backend.profiles if not profile.calibrated] == TARGETS
    assert {str(profile.target) for profile in integers} == {
        f"{d}-trt-int8" for d in ("jetson", "v100", "gpu")
    }
    assert all(
        profile.opset == 17 and {"model.onnx", "build.json"} <= set(profile.files)
        for profile in backend.profiles
    )


@pytest.mark.parametrize("target", TARGETS)
def test_a_package_is_made_and_gated_without_a_gpu(package: Package, target: str) -> None:
    artifact = package(target)
    parity = artifact.manifest.parity
    assert parity is not None
    assert 0.0 < parity.worst <= parity.tolerance
    assert parity.worst < (1e-5 if target.endswith("fp32") else 5e-3)
    assert set(artifact.manifest.files) == {"model.onnx", "build.json", "README.md", "build.sh", "golden.npz"}
    assert "tensorrt" not in artifact.manifest.tools


def test_the_manifest_says_what_stood_in_for_the_gpu(package: Package) -> None:
    text = (package().path / "manifest.json").read_text()
    assert "ONNX Runtime on the CPU, rounding as the graph's types say" in text


def test_half_is_measured_not_float32_in_disguise(package: Package) -> None:
    half, exact = (package(f"jetson-trt-{kind}").manifest.parity for kind in ("fp16", "fp32"))
    assert half is not None
    assert exact is not None
    assert half.worst > 10 * exact.worst


def test_a_network_that_overflows_in_half_is_not_exported(
    small_weights: Path, tmp_path: Path, device: Install
) -> None:
    """Every weight fits float16, the activations do not: the export sees it, though the CPU computes in float32."""
    torch = pytest.importorskip("torch")
    from edgeyolo.models.weights import load, save

    device(tensorrt=None, cuda=None)
    loaded = load(small_weights)
    norms = [module for module in loaded.network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        norms[-1].bias.add_(6e4)
        norms[-1].weight.mul_(1e4)
    weights = tmp_path / "loud.safetensors"
    save(weights, loaded.network, loaded.class_names, {})
    with pytest.raises(GateError, match="computes in float16, which ends at 65504"):
        export(weights, "jetson-trt-fp16", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_engine_reproduces_the_golden_vectors_of_the_package(device: Install, package: Package) -> None:
    device(tensorrt="8.5.3.1", cuda="pycuda")
    checked = verify(package().path)
    assert checked.deviation < 1e-4
    assert checked.runtime == "tensorrt"


def test_without_a_gpu_verify_uses_the_stand_in(device: Install, package: Package) -> None:
    device(tensorrt=None, cuda=None)
    checked = verify(package().path)
    assert checked.deviation == 0.0
    assert "ONNX Runtime" in checked.runtime


def test_the_stand_in_refuses_what_it_cannot_stand_for(package: Package, tmp_path: Path) -> None:
    manifest = package().manifest
    rubbish = tmp_path / "model.onnx"
    rubbish.write_bytes(b"rubbish")
    with pytest.raises(DamagedFileError, match="cannot load it"):
        StandIn(rubbish, manifest.input, manifest.output)
    session = StandIn(package().file(".onnx"), manifest.input, manifest.output)
    session.close()
    session.close()
    with pytest.raises(Exception, match="closed"):
        session.run(batch_for(package()))


def test_opening_builds_once_and_says_so(
    device: Install, package: Package, caplog: pytest.LogCaptureFixture
) -> None:
    machine, artifact = device(), package()
    for _ in range(2):
        with closing(registry.open_session(artifact)) as session:
            batch = batch_for(artifact)
            for name, each in expected(artifact, batch).items():
                np.testing.assert_allclose(session.run(batch)[name], each, atol=1e-5 * np.abs(each).max())
    assert caplog.text.count("building the TensorRT engine for this machine") == 1
    assert sum(event.startswith("built") for event in machine.events) == 1
    assert machine.left_over() == []


def test_building_at_the_opening_can_be_forbidden(
    device: Install, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    device()
    monkeypatch.setenv("EDGEYOLO_TENSORRT_BUILD", "0")
    with pytest.raises(RuntimeMissingError, match="no engine is built for this machine") as caught:
        registry.open_session(package())
    assert caught.value.hint.startswith("edgeyolo build ")
    monkeypatch.delenv("EDGEYOLO_TENSORRT_BUILD")
    registry.open_session(package()).close()
    monkeypatch.setenv("EDGEYOLO_TENSORRT_BUILD", "0")
    registry.open_session(package()).close()


def test_a_detector_finds_what_the_golden_vectors_say(device: Install, package: Package) -> None:
    device(cuda="pycuda")
    golden = np.load(package().file("golden.npz"))
    with Detector(package().path) as detector:
        found = detector(golden["image"])
    assert len(found) == len(golden["xyxy"]) > 0
    np.testing.assert_allclose(found.xyxy, golden["xyxy"], atol=0.01)
    np.testing.assert_array_equal(found.class_id, golden["class_id"])


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({}, DeviceOptions()),
        ({"DEVICE": "1", "DLA": "0"}, DeviceOptions(device=1, dla_core=0)),
        ({"WORKSPACE": "512", "GRAPH": "1"}, DeviceOptions(workspace_mib=512, cuda_graph=True)),
        ({"BUILD": "0"}, DeviceOptions(build=False)),
        ({"GRAPH": "0", "BUILD": "1", "DLA": " "}, DeviceOptions()),
    ],
)  # fmt: skip
def test_options_come_from_the_environment(variables: dict[str, str], options: DeviceOptions) -> None:
    environment = {f"EDGEYOLO_TENSORRT_{name}": value for name, value in variables.items()}
    assert DeviceOptions.from_environment(environment) == options


def test_an_option_that_is_no_number_is_named() -> None:
    with pytest.raises(UsageError, match="EDGEYOLO_TENSORRT_DLA='both'"):
        DeviceOptions.from_environment({"EDGEYOLO_TENSORRT_DLA": "both"})
