"""Device auto: what is considered, what is measured, what is remembered, and that it says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.artifact.target import Target
from edgeyolo.backend import registry
from edgeyolo.backend.devices import Device
from edgeyolo.backend.interface import Availability
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.detector.selection import order
from edgeyolo.detector.selection.choose import choose
from edgeyolo.detector.selection.measure import fastest
from edgeyolo.errors import DamagedFileError, GateError, RuntimeMissingError, UsageError

OUTPUT = RawMaps(("p3",), (8,), (((10.0, 13.0),),), 1)


@dataclass
class FakeBackend:
    """A backend of float32 (or other) targets whose sessions take `milliseconds`."""

    name: str
    targets: tuple[str, ...]
    milliseconds: float = 1.0
    makes: str = ""
    runs: str = ""
    breaks: str = ""
    version: str = "1.0"
    calibrated: bool = False
    opened: int = 0

    @property
    def profiles(self) -> tuple[TargetProfile, ...]:
        return tuple(
            TargetProfile(Target.parse(name), "", parity=1e-3, calibrated="int8" in name)
            for name in self.targets
        )

    def can_compile(self) -> Availability:
        return Availability(not self.makes, self.makes, "install it")

    def can_run(self) -> Availability:
        return Availability(not self.runs, self.runs, "install it", self.version)

    def compile(self, source: Any, target: Target, into: Path) -> Any:
        raise NotImplementedError

    def open(self, artifact: Artifact, *, threads: int | None = None) -> FakeSession:
        if self.breaks:
            raise RuntimeError(self.breaks)
        self.opened += 1
        return FakeSession(self.milliseconds)


@dataclass
class FakeSession:
    milliseconds: float

    def run(self, batch: Any) -> dict[str, Any]:
        sleep(self.milliseconds / 1e3)
        return {"p3": np.zeros((1, 6, 4, 4), np.float32)}

    def close(self) -> None:
        pass


@dataclass
class World:
    backends: list[FakeBackend]
    folder: Path
    fails: dict[str, Exception] = field(default_factory=dict)
    exported: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    weights: Path = Path()

    def export(self, target: str, step: Callable[[str], None]) -> Artifact:
        step("compiling")
        self.exported.append(target)
        if target in self.fails:
            raise self.fails[target]
        backend = next(each for each in self.backends if target in each.targets)
        manifest = Manifest(
            Target.parse(target), backend.name, "m", {}, ("a",), InputContract(32, 32), OUTPUT, files={}
        )
        return Artifact(self.folder / target, manifest)

    def choose(self, device: str = "auto", **more: Any) -> Any:
        self.exported.clear()
        return choose(self.weights, Device.parse(device), self.export, step=self.told.append, **more)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A machine on which ONNX Runtime is the fastest and OpenVINO first in the order."""
    made = World(
        [
            FakeBackend("openvino", ("cpu-openvino-fp32", "cpu-openvino-fp16", "cpu-openvino-int8"), 6),
            FakeBackend("onnxruntime", ("cpu-onnx-fp32", "cpu-onnx-int8"), 2),
            FakeBackend("torch", ("cpu-torch-fp32",), 9),
            FakeBackend("tflite", ("cpu-tflite-fp32",), 1),
            FakeBackend("tensorrt", ("gpu-trt-fp16",), 1, runs="there is no GPU"),
            FakeBackend("coreml", ("ane-coreml-w6",)),
        ],
        tmp_path,
    )
    made.weights = tmp_path / "w.safetensors"
    made.weights.write_bytes(b"weights")
    for name in ("EDGEYOLO_MEASURE", "EDGEYOLO_TARGET", "EDGEYOLO_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "_load", lambda: ({each.name: each for each in made.backends}, ()))
    monkeypatch.setattr(
        registry,
        "_load_entry",
        lambda name: next((each for each in made.backends if each.name == name), None),
    )
    monkeypatch.setattr(order.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr("edgeyolo.detector.selection.measure.SECONDS", 0.02)
    yield made


def test_the_fastest_of_those_measured(world: World) -> None:
    chosen = world.choose()
    assert chosen.explanation.target == "cpu-onnx-fp32"
    assert world.exported == ["cpu-openvino-fp32", "cpu-onnx-fp32", "cpu-torch-fp32"]
    assert "the fastest" in chosen.explanation.decided
    assert "measured now" in chosen.explanation.decided
    by_name = {item.target: item for item in chosen.explanation.considered}
    assert set(by_name) == {name for each in world.backends for name in each.targets}
    assert by_name["cpu-onnx-fp32"].milliseconds < by_name["cpu-openvino-fp32"].milliseconds
    assert by_name["cpu-tflite-fp32"].usable
    assert by_name["cpu-tflite-fp32"].milliseconds is None
    assert "calibration images" in by_name["cpu-onnx-int8"].reason
    assert "there is no GPU" in by_name["gpu-trt-fp16"].reason
    assert "costs accuracy" in by_name["ane-coreml-w6"].reason
    assert "as fast or faster" in by_name["cpu-openvino-fp16"].reason


def test_it_says_what_takes_long_and_explains_itself(world: World) -> None:
    explanation = world.choose().explanation
    assert any(text.startswith("cpu-openvino-fp32: compiling") for text in world.told)
    assert any(text.startswith("measuring ") for text in world.told)
    data = json.loads(json.dumps(explanation.to_json()))
    assert data["target"] == "cpu-onnx-fp32"
    assert {"target", "usable", "reason", "milliseconds", "unwanted"} == set(data["considered"][0])
    lines = str(explanation).splitlines()
    assert "cpu-onnx-fp32" in lines[0]
    assert "ms an image, measured here" in lines[1]
    assert len(lines) == 1 + len(explanation.considered)


def test_integers_are_never_chosen(world: World) -> None:
    world.backends = [FakeBackend("onnxruntime", ("cpu-onnx-int8",))]
    with pytest.raises(RuntimeMissingError, match="never chosen without being asked for"):
        world.choose()
    assert world.exported == []


def test_measurements_are_remembered(world: World) -> None:
    world.choose()
    opened = [each.opened for each in world.backends]
    again = world.choose()
    assert world.exported == ["cpu-onnx-fp32"]
    assert [each.opened for each in world.backends] == opened, "nothing is measured again"
    assert "remembered" in again.explanation.decided
    assert again.explanation.considered[1].milliseconds is not None


@pytest.mark.parametrize("change", ["weights", "size", "version", "threads", "variable", "damage"])
def test_it_is_measured_again_when_what_it_depends_on_changes(
    world: World, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.choose()
    more: dict[str, Any] = {}
    if change == "weights":
        world.weights.write_bytes(b"others")
    elif change == "version":
        world.backends[0].version = "2.0"
    elif change == "variable":
        monkeypatch.setenv("EDGEYOLO_OPENVINO_HINT", "throughput")
    elif change == "damage":
        (record,) = (world.folder / "cache" / "measured").iterdir()
        record.write_text("{")
    else:
        more = {"size": (64, 64)} if change == "size" else {"threads": 1}
    world.choose(**more)
    assert len(world.exported) == 3


def test_nothing_measured_where_that_is_switched_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEYOLO_MEASURE", "0")
    chosen = world.choose()
    assert chosen.explanation.target == "cpu-openvino-fp32"
    assert world.exported == ["cpu-openvino-fp32"]
    assert "EDGEYOLO_MEASURE=0, so the documented order decides" in chosen.explanation.decided


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (GateError("3e-1 away from torch"), "3e-1 away"),
        (RuntimeMissingError("a package is missing"), "a package is missing"),
        (ValueError("converter bug"), "its toolchain failed: ValueError"),
    ],
)
def test_one_that_cannot_be_made_is_passed_over(world: World, error: Exception, says: str) -> None:
    world.fails["cpu-onnx-fp32"] = error
    explanation = world.choose().explanation
    assert explanation.target == "cpu-tflite-fp32", (
        "the next of the order takes its place, and is the fastest"
    )
    failed = next(item for item in explanation.considered if item.target == "cpu-onnx-fp32")
    assert not failed.usable
    assert says in failed.reason


@pytest.mark.parametrize("error", [UsageError("imgsz"), DamagedFileError("truncated")])
def test_wrong_weights_are_no_reason_to_look_further(world: World, error: Exception) -> None:
    world.fails["cpu-openvino-fp32"] = error
    with pytest.raises(type(error)):
        world.choose()


def test_one_that_does_not_run_is_passed_over(world: World) -> None:
    world.backends[1].breaks = "illegal instruction"
    explanation = world.choose().explanation
    assert explanation.target == "cpu-openvino-fp32"
    assert "illegal instruction" in next(
        item.reason for item in explanation.considered if item.target == "cpu-onnx-fp32"
    )


def test_a_gpu_comes_before_the_processor_unmeasured(world: World) -> None:
    world.backends[4].runs = ""
    explanation = world.choose().explanation
    assert explanation.target == "gpu-trt-fp16"
    assert world.exported == ["gpu-trt-fp16"]
    assert "slower class" in explanation.decided


def test_processor_is_taken_when_the_gpu_toolchain_fails(world: World) -> None:
    world.backends[4].runs = ""
    world.fails["gpu-trt-fp16"] = GateError("overflow")
    assert world.choose().explanation.target == "cpu-onnx-fp32"


def test_a_device_that_is_not_here_says_what_is(world: World) -> None:
    with pytest.raises(
        RuntimeMissingError, match=r"on device cuda:\n.*gpu-trt-fp16.*there is no GPU"
    ) as caught:
        world.choose("cuda")
    assert "cpu-onnx-fp32" in caught.value.hint
    assert "cpu-onnx-fp32" not in caught.value.message
    assert caught.value.exit_code == 3


def test_too_close_to_tell_leaves_it_to_the_order() -> None:
    assert fastest({"a": 10.2, "b": 10.0}, ["a", "b"]) == "a"
    assert fastest({"a": 10.49, "b": 10.0}, ["a", "b"]) == "a"
    assert fastest({"a": 10.51, "b": 10.0}, ["a", "b"]) == "b"
    assert fastest({"a": 11.0, "b": 10.0}, ["a", "b"]) == "b"


def test_the_order_on_arm_begins_with_another_runtime() -> None:
    names = ["cpu-openvino-fp32", "cpu-onnx-fp32", "cpu-torch-fp32", "cpu-tflite-fp32"]
    targets = [Target.parse(name) for name in names]
    assert [str(each) for each in sorted(targets, key=lambda each: order.rank(each, "x86_64"))] == names
    assert sorted(targets, key=lambda each: order.rank(each, "aarch64"))[0].runtime == "onnx"


def test_a_cache_that_cannot_be_written_is_said_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (world.folder / "file").write_bytes(b"")
    monkeypatch.setenv("EDGEYOLO_CACHE", str(world.folder / "file" / "cache"))
    assert "measured again next time" in world.choose().explanation.decided
