"""Devices by the names that users give them."""

from __future__ import annotations

from typing import Any

import pytest

from edgeyolo.artifact.target import Target
from edgeyolo.backend import registry
from edgeyolo.backend.devices import NAMES, Device, device_of
from edgeyolo.errors import UsageError


@pytest.mark.parametrize(
    ("given", "device"),
    [
        ("auto", Device("auto")),
        (" CPU ", Device("cpu")),
        ("cuda", Device("cuda")),
        ("cuda:0", Device("cuda", 0)),
        (0, Device("cuda", 0)),
        ("1", Device("cuda", 1)),
        ("gpu:2", Device("gpu", 2)),
        ("intel:gpu", Device("intel:gpu")),
        ("intel:gpu:1", Device("intel:gpu", 1)),
        ("intel:npu", Device("intel:npu")),
        ("npu", Device("intel:npu")),
        ("tpu:0", Device("tpu", 0)),
        ("edgetpu", Device("tpu")),
        ("ane", Device("ane")),
        ("dla:1", Device("dla", 1)),
        ("dla", Device("dla", 0)),
        ("ncs", Device("ncs")),
        ("MYRIAD", Device("ncs")),
    ],
)
def test_names(given: str | int, device: Device) -> None:
    assert Device.parse(given) == device
    assert Device.parse(device) is device
    assert Device.parse(str(device)) == device


@pytest.mark.parametrize(
    "wrong", ["", "cud", "cpu:1", "cuda:x", "cuda:-1", "intel", "npu:0", True, -1, None, "auto:0"]
)
def test_others_are_refused_with_what_is_possible(wrong: object) -> None:
    with pytest.raises(UsageError, match="device ") as caught:
        Device.parse(wrong)  # type: ignore[arg-type]
    assert "cuda:1" in caught.value.hint


def test_a_slip_gives_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Did you mean cuda"):
        Device.parse("cudda")


def test_every_target_is_on_exactly_its_devices() -> None:
    admitted = {
        "cpu-onnx-fp32": {"cpu"},
        "gpu-openvino-fp16": {"gpu", "intel:gpu"},
        "npu-openvino-int8": {"intel:npu"},
        "ncs-openvino-fp16": {"ncs"},
        "ane-coreml-fp16": {"ane"},
        "edgetpu-tflite-int8": {"tpu"},
        "jetson-trt-fp16": {"cuda", "gpu", "dla"},
        "v100-trt-fp16": {"cuda", "gpu"},
        "gpu-trt-fp16": {"cuda", "gpu"},
        "cuda-torch-fp16": {"cuda", "gpu"},
    }
    for name, devices in admitted.items():
        target = Target.parse(name)
        assert {kind for kind in NAMES.values() if Device(kind).admits(target)} == devices | {"auto"}, name


def test_every_registered_target_has_a_device_that_admits_it() -> None:
    for profile, _ in registry.profiles():
        device = device_of(profile.target)
        assert device.admits(profile.target)
        assert Device.parse(str(device)) == device


def test_the_first_of_several_devices_is_one_too() -> None:
    """`dla:0` names a device as `dla:1` does: the backend is told, where it can be; elsewhere 0 is the only one."""

    class Several:
        name, profiles = "several", ()

        def __init__(self, device: Device | None = None) -> None:
            self.device = device

        def can_compile(self) -> None: ...
        def can_run(self) -> None: ...
        def compile(self, source: object, target: object, into: object) -> None: ...
        def open(self, artifact: object, *, threads: int | None = None) -> None: ...
        def at(self, device: Device) -> Several:
            return Several(device)

    class Single:
        name, profiles = "single", ()
        can_compile = can_run = compile = open = Several.open

    backend: Any = Several()
    assert registry.placed(backend, None) is backend
    for name in ("dla:0", "dla:1", "cuda:0", "cuda:2"):
        assert registry.placed(backend, Device.parse(name)).device == Device.parse(name)  # type: ignore[attr-defined]
    assert registry.placed(backend, Device.parse("cuda")) is backend
    alone: Any = Single()
    assert registry.placed(alone, Device.parse("dla:0")) is alone
    with pytest.raises(UsageError, match="does not tell several devices apart"):
        registry.placed(alone, Device.parse("dla:1"))
