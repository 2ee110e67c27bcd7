"""Devices by the names that users give them."""

from __future__ import annotations

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
