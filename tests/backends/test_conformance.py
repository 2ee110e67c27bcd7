"""The suite that every backend passes, on every target of ours that this machine can make."""

from __future__ import annotations

import pytest

from edgeyolo.backend import conformance, registry
from edgeyolo.backend.conformance import *  # noqa: F403

# Each runtime once, and once in integers. Those of TensorRT and Core ML pass the suite on simulated devices, in their
# own folders; the other targets of a runtime differ in their precision.
QUICK = ("cpu-onnx-fp32", "cpu-onnx-int8", "cpu-openvino-fp32", "cpu-tflite-fp32", "cpu-torch-fp32")
ALL = [str(profile.target) for profile, _ in registry.profiles()]
TARGETS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ALL]


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_suite_is_taken_over_whole() -> None:
    tests = [name for name in conformance.__all__ if name.startswith("test_")]
    assert len(tests) >= 16
    assert set(tests) <= set(globals())
    assert set(QUICK) <= set(ALL)
