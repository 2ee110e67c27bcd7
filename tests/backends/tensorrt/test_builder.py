"""Building engines on simulated devices of every TensorRT generation."""

from __future__ import annotations

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from tensorrt_fakes.machine import FakeGpu, Machine
from tensorrt_fakes.plan import Plan
from tensorrt_fakes.scenario import Install, Package, assert_same, batch_for, expected, opened
from tensorrt_fakes.surface import TENSORRT

from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.errors import (
    DamagedFileError,
    EdgeYoloError,
    RuntimeMissingError,
    UnsupportedTargetError,
    UsageError,
)
from edgeyolo_tensorrt.engine import progress as progress_module
from edgeyolo_tensorrt.engine.builder import build_engine, find_engine
from edgeyolo_tensorrt.engine.job import Job
from edgeyolo_tensorrt.options import DeviceOptions
from edgeyolo_tensorrt.package.recipe import Recipe, graph_types

CACHE = "cache/tensorrt/engines"


def plan_of(path: Path) -> Plan:
    plan = Plan.from_bytes(path.read_bytes())
    assert plan is not None
    return plan


def changed(artifact: Artifact, into: Path, name: str, data: bytes) -> Artifact:
    """A copy of an artifact with one file replaced, sealed again."""
    copy = Path(shutil.copytree(artifact.path, into))
    (copy / name).write_bytes(data)
    (copy / MANIFEST).unlink()
    return Artifact.seal(copy, artifact.manifest)


def build_flags(machine: Machine) -> str:
    return next(event for event in machine.events if event.startswith("built with"))


@pytest.mark.parametrize("version", TENSORRT)
def test_every_version_builds_what_the_package_says(device: Install, package: Package, version: str) -> None:
    machine = device(tensorrt=version)
    for target in ("jetson-trt-fp16", "jetson-trt-fp32"):
        artifact = package(target)
        session = opened(artifact)
        batch = batch_for(artifact)
        assert_same(session.run(batch), expected(artifact, batch))
        session.close()
        assert ("'FP16'" in build_flags(machine)) == (version.startswith("8.") and target.endswith("fp16"))
        assert "TF32" not in build_flags(machine)
        machine.events.clear()
    assert machine.left_over() == []


@pytest.mark.parametrize("version", ["8.5.3.1", "10.3.0", "11.4.0.106"])
def test_a_graph_with_quantizers_is_just_another_graph(
    device: Install, package: Package, tmp_path: Path, version: str
) -> None:
    exact = package("jetson-trt-fp32")
    model = onnx.load(exact.file(".onnx"))
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    first.input[0] = "images_dequantized"
    model.graph.initializer.extend(
        [
            helper.make_tensor("scale", onnx.TensorProto.FLOAT, [], [1 / 127]),
            helper.make_tensor("zero", onnx.TensorProto.INT8, [], [0]),
        ]
    )
    quantize = helper.make_node(
        "QuantizeLinear", ["images", "scale", "zero"], ["images_quantized"], "quantize"
    )
    restore = helper.make_node(
        "DequantizeLinear", ["images_quantized", "scale", "zero"], ["images_dequantized"], "dequantize"
    )
    model.graph.node.insert(0, restore)
    model.graph.node.insert(0, quantize)
    recipe = replace(Recipe.read(exact.file("build.json")), types=graph_types(model))
    artifact = changed(exact, tmp_path / "a", "model.onnx", model.SerializeToString())
    artifact = changed(artifact, tmp_path / "b", "build.json", recipe.to_json().encode())
    machine = device(tensorrt=version)
    session = opened(artifact)
    batch = batch_for(artifact)
    maps = session.run(batch)
    session.close()
    assert_same(maps, expected(artifact, batch))
    assert not np.array_equal(maps["p3"], expected(exact, batch)["p3"])
    assert ("'INT8'" in build_flags(machine)) == version.startswith("8.")


@pytest.mark.parametrize("version", ["8.5.3.1", "10.3.0", "11.4.0.106"])
def test_a_dynamic_batch_gets_a_profile(device: Install, package: Package, version: str) -> None:
    device(tensorrt=version)
    engine = build_engine(package(dynamic=True))
    assert plan_of(engine.path).profile == [[1, 3, 96, 96], [1, 3, 96, 96], [32, 3, 96, 96]]
    assert plan_of(build_engine(package()).path).profile is None


def test_the_engine_is_tensorrts_own_bytes_with_a_record_beside(
    device: Install, package: Package, tmp_path: Path
) -> None:
    device()
    engine = build_engine(package())
    assert engine.path.read_bytes()[:4] == b"ftrt"
    assert engine.path.is_relative_to(tmp_path / CACHE)
    record = json.loads((engine.path.parent / "engine.json").read_text())
    assert {
        key: record[key] for key in ("tensorrt", "gpu", "compute_capability", "driver", "strongly_typed")
    } == {
        "tensorrt": "10.3.0",
        "gpu": "Orin",
        "compute_capability": "8.7",
        "driver": "12.6",
        "strongly_typed": True,
    }
    assert sorted(path.name for path in engine.path.parent.iterdir()) == ["engine.json", "model.engine"]
    assert not engine.reused


def test_an_engine_is_built_once_for_each_network_gpu_and_version(
    device: Install, package: Package, tmp_path: Path
) -> None:
    device()
    first, again = build_engine(package()), build_engine(package())
    assert (first.path, again.reused) == (again.path, True)
    assert build_engine(package("v100-trt-fp16")).path != first.path
    assert not build_engine(package(), force=True).reused
    device(tensorrt="11.4.0.106")
    assert not build_engine(package()).reused
    device(FakeGpu("NVIDIA L4", (8, 9)))
    assert not build_engine(package()).reused
    folders = [path.name for path in (tmp_path / CACHE).iterdir() if path.is_dir()]
    assert sorted(name.partition("-")[2] for name in folders) == [
        "NVIDIA-L4-sm_89-trt10.3.0",
        "Orin-sm_87-trt10.3.0",
        "Orin-sm_87-trt10.3.0",
        "Orin-sm_87-trt11.4.0.106",
    ]


def test_notes_in_the_manifest_do_not_cost_a_build(device: Install, package: Package, tmp_path: Path) -> None:
    device()
    artifact = package()
    build_engine(artifact)
    copy = Path(shutil.copytree(artifact.path, tmp_path / "copy"))
    (copy / MANIFEST).unlink()
    noted = Artifact.seal(copy, replace(artifact.manifest, provenance={"source": "elsewhere"}))
    assert noted.sha256 != artifact.sha256
    assert build_engine(noted).reused


@pytest.mark.parametrize("damage", ["engine", "record", "missing", "half"])
def test_a_damaged_engine_is_built_again(device: Install, package: Package, damage: str) -> None:
    device()
    engine = build_engine(package())
    record = engine.path.parent / "engine.json"
    if damage == "engine":
        engine.path.write_bytes(engine.path.read_bytes()[:-1] + b"?")
    elif damage == "record":
        record.write_text("{}")
    elif damage == "missing":
        engine.path.unlink()
    else:
        record.unlink()
        engine.path.unlink()
    assert find_engine(package()) is None
    again = build_engine(package())
    assert not again.reused
    assert find_engine(package()) is not None


def test_processes_that_want_the_same_engine_build_it_once(device: Install, package: Package) -> None:
    machine = device()
    machine.step_s = 0.02
    told: list[str] = []
    with ThreadPoolExecutor(3) as pool:
        builds = [
            pool.submit(build_engine, package(), progress=lambda text, *_: told.append(text))
            for _ in range(3)
        ]
    assert sorted(build.result().reused for build in builds) == [False, True, True]
    assert "waiting for another build" in told
    assert sum(event.startswith("built") for event in machine.events) == 1


def test_two_networks_are_not_built_at_once_on_a_gpu(
    device: Install, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels are timed while building; another build would falsify the timings."""
    device()
    inside, most = 0, 0
    original = progress_module.run_interruptibly

    def counted(work, cancel, **options):  # type: ignore[no-untyped-def]
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.05)
        original(work, cancel, **options)
        inside -= 1

    monkeypatch.setattr("edgeyolo_tensorrt.engine.builder.run_interruptibly", counted)
    artifacts = [package("jetson-trt-fp16"), package("jetson-trt-fp32"), package("v100-trt-fp16")]
    with ThreadPoolExecutor(3) as pool:
        assert [engine.reused for engine in pool.map(build_engine, artifacts)] == [False] * 3
    assert most == 1


@pytest.mark.parametrize("version", ["8.5.3.1", "11.4.0.106"])
def test_a_failing_build_gives_tensorrts_words_and_leaves_nothing(
    device: Install, package: Package, tmp_path: Path, version: str
) -> None:
    machine = device(tensorrt=version)
    machine.build_error = "Error Code 2: OutOfMemory (Requested size was 123456789 bytes.)"
    with pytest.raises(EdgeYoloError, match=r"could not build .*\n  Error Code 2: OutOfMemory") as caught:
        build_engine(package())
    assert "--workspace" in caught.value.hint
    assert [path for path in (tmp_path / CACHE).iterdir() if path.suffix != ".lock"] == []
    assert machine.left_over() == []
    machine.build_error = ""
    assert not build_engine(package()).reused


def test_a_second_builds_errors_arrive_too(device: Install, package: Package) -> None:
    """TensorRT sends everything to the first logger it was given."""
    machine = device()
    build_engine(package())
    machine.build_error = "Error Code 10: Could not find any implementation for node conv"
    with pytest.raises(EdgeYoloError, match="any implementation for node conv"):
        build_engine(package("jetson-trt-fp32"))


@pytest.mark.parametrize("version", ["8.5.3.1", "10.3.0", "11.4.0.106"])
def test_the_parsers_errors_name_the_nodes(
    device: Install, package: Package, tmp_path: Path, version: str
) -> None:
    artifact = package()
    model = onnx.load(artifact.file(".onnx"))
    first, second = model.graph.node[1].name or "conv", "strange"
    model.graph.node[1].name, model.graph.node[1].op_type = first, "Hardmax"
    model.graph.node.append(helper.make_node("Erf", [model.graph.node[3].output[0]], ["extra"], second))
    broken = changed(artifact, tmp_path / "broken", "model.onnx", model.SerializeToString())
    device(tensorrt=version)
    with pytest.raises(UnsupportedTargetError) as caught:
        build_engine(broken)
    lines = caught.value.message.splitlines()
    assert f"  {first} [Hardmax]: No importer registered for op: Hardmax (UNSUPPORTED_NODE)" in lines
    assert f"  {second} [Erf]: No importer registered for op: Erf (UNSUPPORTED_NODE)" in lines


def test_a_parser_that_names_no_node_gives_its_position_where_onnx_is_not_installed(
    device: Install, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = package()
    model = onnx.load(artifact.file(".onnx"))
    model.graph.node[5].op_type = "Hardmax"
    broken = changed(artifact, tmp_path / "broken", "model.onnx", model.SerializeToString())
    device(tensorrt="8.5.3.1")
    monkeypatch.setattr("edgeyolo_tensorrt.engine.parsing.find_spec", lambda name: None)
    with pytest.raises(UnsupportedTargetError, match="node 5: No importer registered for op: Hardmax"):
        build_engine(broken)


def test_a_file_that_is_no_graph_is_refused(device: Install, package: Package, tmp_path: Path) -> None:
    device()
    broken = changed(package(), tmp_path / "broken", "model.onnx", b"rubbish")
    with pytest.raises(UnsupportedTargetError, match=r"the file: Failed to parse ONNX model"):
        build_engine(broken)
    broken = changed(package(), tmp_path / "broken2", "build.json", b"rubbish")
    with pytest.raises(DamagedFileError, match="not JSON"):
        build_engine(broken)


@pytest.mark.parametrize("version", ["10.16.1.11", "11.4.0.106"])
def test_a_v100_is_refused_from_10_5_on_with_the_reason(
    device: Install, package: Package, tmp_path: Path, version: str
) -> None:
    machine = device(FakeGpu("Tesla V100-SXM2-16GB", (7, 0)), tensorrt=version)
    for target in ("v100-trt-fp16", "gpu-trt-fp16"):
        with pytest.raises(RuntimeMissingError, match=r"NVIDIA Volta support .* has been removed") as caught:
            build_engine(package(target))
        assert "tensorrt<10.5" in caught.value.hint
    assert not (tmp_path / CACHE).exists()
    assert machine.left_over() == []


def test_a_package_for_v100_is_not_built_with_a_newer_tensorrt_elsewhere(
    device: Install, package: Package
) -> None:
    device(FakeGpu("NVIDIA L4", (8, 9)), tensorrt="10.16.1.11")
    with pytest.raises(
        RuntimeMissingError, match=r"v100-trt-fp16 is for TensorRT >=8\.5,<10\.5; this is"
    ) as caught:
        build_engine(package("v100-trt-fp16"))
    assert "tensorrt>=8.5,<10.5" in caught.value.hint


def test_timings_are_kept_for_the_next_network(device: Install, package: Package, tmp_path: Path) -> None:
    device()
    file = tmp_path / "cache/tensorrt/timing/Orin-sm_87-trt10.3.0.cache"
    build_engine(package("jetson-trt-fp16"))
    first = file.read_bytes()
    build_engine(package("jetson-trt-fp32"))
    assert file.read_bytes().startswith(first)
    assert len(file.read_bytes()) > len(first)


def test_a_foreign_timing_cache_is_replaced(device: Install, package: Package, tmp_path: Path) -> None:
    device()
    file = tmp_path / "cache/tensorrt/timing/Orin-sm_87-trt10.3.0.cache"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"timings of another machine")
    build_engine(package())
    assert file.read_bytes().startswith(b"timing 10.3.0 Orin;")


def test_scratch_memory_is_the_recipes_or_the_users_but_half_the_gpu_at_most(
    device: Install, package: Package
) -> None:
    machine = device(FakeGpu(memory=8 << 30))
    build_engine(package())
    assert f"'WORKSPACE': {2048 << 20}" in build_flags(machine)
    machine.events.clear()
    build_engine(package(), DeviceOptions(workspace_mib=300), force=True)
    assert f"'WORKSPACE': {300 << 20}" in build_flags(machine)
    small = device(FakeGpu(memory=2 << 30))
    build_engine(package(), force=True)
    assert f"'WORKSPACE': {1 << 30}" in build_flags(small)


@pytest.mark.parametrize("version", ["8.5.3.1", "10.3.0"])
def test_dla_gets_its_flags_and_an_engine_of_its_own(device: Install, package: Package, version: str) -> None:
    machine = device(tensorrt=version)
    engine = build_engine(package(), DeviceOptions(dla_core=1))
    assert plan_of(engine.path).dla_core == 1
    assert engine.path.parent.name.endswith("-dla1")
    assert "['FP16', 'GPU_FALLBACK']" in build_flags(machine)
    assert engine.path != build_engine(package()).path


def test_dla_is_refused_where_it_is_not(device: Install, package: Package) -> None:
    machine = device(FakeGpu("NVIDIA L4", (8, 9), dla_cores=0))
    with pytest.raises(UnsupportedTargetError, match="no DLA core 0: NVIDIA L4 has 0"):
        build_engine(package(), DeviceOptions(dla_core=0))
    with pytest.raises(UsageError, match="this artifact is fp32"):
        build_engine(package("jetson-trt-fp32"), DeviceOptions(dla_core=0))
    device(tensorrt="11.4.0.106")
    with pytest.raises(RuntimeMissingError, match=r"has no DLA; versions that have: 8\.5 to below 10\.8"):
        build_engine(package(), DeviceOptions(dla_core=0))
    assert machine.left_over() == []


@pytest.mark.parametrize("version", ["10.3.0", "11.4.0.106"])
def test_progress_is_told_step_by_step(device: Install, package: Package, version: str) -> None:
    device(tensorrt=version)
    told: list[tuple[str, int, int | None]] = []
    build_engine(package(), progress=lambda *step: told.append(step))
    assert told == [("Building engine", done, 10) for done in range(11)]


def test_a_tensorrt_without_progress_says_so(device: Install, package: Package) -> None:
    device(tensorrt="8.5.3.1")
    told: list[tuple[str, int, int | None]] = []
    build_engine(package(), progress=lambda *step: told.append(step))
    assert told == [("building (this TensorRT reports no progress)", 0, None)]


@pytest.mark.parametrize("version", ["8.5.3.1", "10.3.0"])
def test_an_interrupt_ends_the_build_and_leaves_nothing(
    device: Install, package: Package, tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, artifact = device(tensorrt=version), package()
    machine.step_s = 0.15
    original, calls = threading.Thread.join, []

    def join(self: threading.Thread, timeout: float | None = None) -> None:
        original(self, timeout)
        if self.name == "edgeyolo-tensorrt-build" and not calls:
            calls.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", join)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build_engine(artifact)
    took = time.monotonic() - started
    assert [path for path in (tmp_path / CACHE).iterdir() if path.suffix != ".lock"] == []
    (thread,) = calls
    stopped = not thread.is_alive()
    original(thread, 10)
    assert stopped == (version == "10.3.0")  # older ones cannot be asked; nobody waits for them
    assert took < 1.2
    assert not any(event.startswith("built") for event in machine.events) or version == "8.5.3.1"
    monkeypatch.undo()


def test_tensorrt_that_does_not_start_says_why(
    device: Install, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA's runtime finds the GPU and TensorRT does not: it was made for a newer driver."""
    machine, artifact = device(), package()
    original = Job.write_engine

    def without_driver(self: Job, into: Path, timing: Path) -> None:
        machine.driver = 0
        try:
            original(self, into, timing)
        finally:
            machine.driver = 12060

    monkeypatch.setattr(Job, "write_engine", without_driver)
    with pytest.raises(RuntimeMissingError, match=r"10\.3\.0 does not start:\n  CUDA initialization failure"):
        build_engine(artifact)
    assert machine.left_over() == []
