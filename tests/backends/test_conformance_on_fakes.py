"""The conformance suite on simulated devices: what the backends of Intel's graphics, NPU and stick and of the edge TPU
do themselves, in place of their stand-ins. NVIDIA's and Apple's devices have theirs in `tensorrt`, `torch`, `coreml`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.backend.conformance import *  # noqa: F403
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.export import ExportOptions, export


def load(path: str) -> ModuleType:
    """Tests are no package, so their parts are loaded by path."""
    spec = spec_from_file_location(Path(path).stem, Path(__file__).parent / path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DEVICES = {
    "gpu-openvino-fp16": "GPU",
    "npu-openvino-int8": "NPU",
    "ncs-openvino-fp16": "MYRIAD",
    "edgetpu-tflite-int8": "",
}
QUICK = "gpu-openvino-fp16"
PARAMS = [pytest.param(name, marks=[] if name == QUICK else [pytest.mark.slow]) for name in DEVICES]


@pytest.fixture(scope="module", params=PARAMS)
def device(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A machine that has the device of the target, and is asked for nothing that the device would not do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEYOLO_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("EDGEYOLO_NCS_PYTHON", "none")
        patch.delenv("EDGEYOLO_OPENVINO_DEVICE", raising=False)
        if DEVICES[request.param]:
            pytest.importorskip("openvino", reason="needs the openvino extra")
            from edgeyolo_openvino import runtime

            fake = load("openvino/fake_devices.py")
            machine = fake.install(patch, runtime, fake.Machine(DEVICES[request.param]))
        else:
            pytest.importorskip("ai_edge_litert", reason="needs the tflite extra")
            machine = coral(patch)
        machine.target = request.param
        yield machine


def coral(patch: pytest.MonkeyPatch) -> Any:
    """A machine with an edge TPU and its compiler."""
    from edgeyolo_tflite import compiler, runtime

    fake = load("tflite/fake_edge_tpu.py")

    def compile_for_edge_tpu(model: Path) -> str:
        model.with_name("model_edgetpu.tflite").write_bytes(fake.compile_graph(model.read_bytes()))
        return "16.0"

    patch.setattr(compiler, "compile_for_edge_tpu", compile_for_edge_tpu)
    return fake.install(patch, runtime)


@pytest.fixture(scope="module")
def artifact(
    device: Any, small_weights: Path, calibration: CalibrationSource, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    _, backend = registry.find_target(device.target)
    assert backend.can_run().ok, "the suite would run the stand-in"
    into = tmp_path_factory.mktemp("export") / "artifact"
    made = export(small_weights, device.target, into, ExportOptions(calibration=calibration))
    assert made.manifest.parity is not None
    assert made.manifest.parity.images.endswith(f"run by {backend.name}")
    return made


@pytest.fixture(autouse=True)
def faultless(device: Any) -> Iterator[None]:
    """Whatever the suite did: nothing undefined, and no network left on the device."""
    yield
    gc.collect()
    assert getattr(device, "violations", []) == []
    assert getattr(device, "open", 0) == 0
    if DEVICES[device.target]:
        assert set(device.compiled) == {DEVICES[device.target]}
    else:
        assert device.log.count("device closed") == sum(
            line.startswith("device opened") for line in device.log
        )
