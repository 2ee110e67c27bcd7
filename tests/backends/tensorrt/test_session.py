"""A loaded engine on simulated devices: right numbers, nothing left behind, readable errors."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tensorrt_fakes import machine as m
from tensorrt_fakes.machine import FakeGpu
from tensorrt_fakes.scenario import Install, Package, assert_same, batch_for, expected, opened

from edgeyolo.backend import registry
from edgeyolo.errors import DamagedFileError, EdgeYoloError, RuntimeMissingError, UsageError
from edgeyolo_tensorrt.engine.builder import build_engine
from edgeyolo_tensorrt.run.session import open_engine

FLAVOURS = ["cuda-python 13.4.4", "cuda-python 12.6.0", "cuda-python 11.8.7", "pycuda"]


@pytest.mark.parametrize("cuda", FLAVOURS)
@pytest.mark.parametrize("graph", [False, True])
def test_maps_are_those_of_the_package(device: Install, package: Package, cuda: str, graph: bool) -> None:
    machine, artifact = device(cuda=cuda), package()
    session = opened(artifact, cuda_graph=graph)
    for seed in (3, 4, 5, 6):
        batch = batch_for(artifact, seed=seed)
        assert_same(session.run(batch), expected(artifact, batch))
    session.close()
    assert machine.left_over() == []
    launched = machine.events.count("graph launched")
    assert launched == (3 if graph and cuda != "pycuda" else 0)


@pytest.mark.parametrize("cuda", FLAVOURS)
@pytest.mark.parametrize("graph", [False, True])
def test_the_batch_may_change_from_run_to_run(
    device: Install, package: Package, cuda: str, graph: bool
) -> None:
    machine, artifact = device(cuda=cuda), package(dynamic=True)
    session = opened(artifact, cuda_graph=graph)
    for images in (2, 1, 1, 1, 5, 5, 5, 2):
        batch = batch_for(artifact, images)
        assert_same(session.run(batch), expected(artifact, batch))
    session.close()
    assert machine.left_over() == []


def test_buffers_grow_and_are_kept(device: Install, package: Package) -> None:
    machine, artifact = device(), package(dynamic=True)
    session = opened(artifact)
    session.run(batch_for(artifact, 4))
    before = set(machine.allocations)
    session.run(batch_for(artifact, 2))
    session.run(batch_for(artifact, 4))
    assert set(machine.allocations) == before
    session.run(batch_for(artifact, 5))
    assert not before & set(machine.allocations)
    assert len(machine.allocations) == len(before) == 4
    session.close()


def test_pycuda_has_no_graphs_and_says_so_once(
    device: Install, package: Package, caplog: pytest.LogCaptureFixture
) -> None:
    device(cuda="pycuda")
    session = opened(package(), cuda_graph=True)
    for _ in range(4):
        session.run(batch_for(package()))
    session.close()
    assert [record.message for record in caplog.records if "without CUDA graph" in record.message] == [
        caplog.records[0].message
    ]
    assert "pycuda 2026.1 knows none" in caplog.text


def test_a_network_that_cannot_be_recorded_runs_all_the_same(
    device: Install, package: Package, caplog: pytest.LogCaptureFixture
) -> None:
    machine, artifact = device(), package()
    session = opened(artifact, cuda_graph=True)
    machine.recordable = False
    batch = batch_for(artifact)
    for _ in range(3):
        assert_same(session.run(batch), expected(artifact, batch))
    session.close()
    assert caplog.text.count("without CUDA graph") == 1
    assert "stream is capturing" in caplog.text
    assert machine.left_over() == []


@pytest.mark.parametrize("cuda", ["cuda-python 13.4.4", "pycuda"])
def test_eight_threads_get_the_results_of_one(device: Install, package: Package, cuda: str) -> None:
    device(cuda=cuda)
    artifact = package(dynamic=True)
    session = opened(artifact)
    batches = [batch_for(artifact, images=1 + seed % 3, seed=seed) for seed in range(8)]
    alone = [session.run(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(session.run, batches))
    for one, other in zip(alone, together, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    session.close()


def test_two_sessions_share_a_gpu(device: Install, package: Package) -> None:
    machine, artifact = device(), package()
    first, second = opened(artifact), opened(artifact)
    one, two = batch_for(artifact, seed=1), batch_for(artifact, seed=2)
    with ThreadPoolExecutor(2) as pool:
        a, b = pool.submit(first.run, one), pool.submit(second.run, two)
        assert_same(a.result(), expected(artifact, one))
        assert_same(b.result(), expected(artifact, two))
    first.close()
    assert_same(second.run(one), expected(artifact, one))
    second.close()
    assert machine.left_over() == []


@pytest.mark.parametrize("cuda", ["cuda-python 13.4.4", "pycuda"])
def test_a_second_gpu_is_used_by_every_thread(device: Install, package: Package, cuda: str) -> None:
    machine = device(FakeGpu("NVIDIA L4", (8, 9)), FakeGpu("NVIDIA A10", (8, 6)), cuda=cuda)
    artifact = package("gpu-trt-fp16")
    session = opened(artifact, device=1)
    batch = batch_for(artifact)
    with ThreadPoolExecutor(3) as pool:
        for maps in pool.map(session.run, [batch] * 3):
            assert_same(maps, expected(artifact, batch))
    assert {each.gpu for each in machine.allocations.values()} == {1}
    assert machine.gpus[0].used == 0
    session.close()


def test_everything_is_released_in_order(device: Install, package: Package) -> None:
    machine, artifact = device(), package()
    session = opened(artifact, cuda_graph=True)
    for _ in range(3):
        session.run(batch_for(artifact))
    machine.events.clear()
    session.close()
    assert machine.events[:3] == ["context released", "engine released", "runtime released"]
    assert machine.events[-1] == "stream destroyed"
    assert machine.events.count("free gpu") == machine.events.count("free host") == 4
    session.close()
    assert machine.events.count("stream destroyed") == 1
    with pytest.raises(EdgeYoloError, match="the session is closed"):
        session.run(batch_for(artifact))


def test_results_are_float32_copies_of_their_own(device: Install, package: Package) -> None:
    device()
    artifact = package()
    session = opened(artifact)
    held = session.run(batch_for(artifact, seed=1))
    copies = {name: each.copy() for name, each in held.items()}
    session.run(batch_for(artifact, seed=2))
    session.close()
    assert all(np.array_equal(held[name], copies[name]) for name in held)
    assert all(each.dtype == np.float32 and each.flags.owndata for each in held.values())


def test_a_batch_larger_than_the_profile_says_what_fits(device: Install, package: Package) -> None:
    device()
    artifact = package(dynamic=True)
    session = opened(artifact)
    large = np.repeat(batch_for(artifact), 33, axis=0)
    with pytest.raises(
        UsageError, match=r"takes \(1, 3, 96, 96\) to \(32, 3, 96, 96\), got \(33, 3, 96, 96\)"
    ):
        session.run(large)
    batch = batch_for(artifact)
    assert_same(session.run(batch), expected(artifact, batch))
    session.close()


def test_no_memory_for_a_batch_is_said_and_smaller_ones_still_run(device: Install, package: Package) -> None:
    machine = device(FakeGpu(memory=3 << 20))
    artifact = package(dynamic=True)
    session = opened(artifact)
    with pytest.raises(EdgeYoloError, match=r"out of memory .*allocating 3\.\d MB on Orin") as caught:
        session.run(np.repeat(batch_for(artifact), 32, axis=0))
    assert "smaller batch" in caught.value.hint
    batch = batch_for(artifact)
    assert_same(session.run(batch), expected(artifact, batch))
    session.close()
    assert machine.left_over() == []


@pytest.mark.parametrize("cuda", ["cuda-python 13.4.4", "pycuda"])
def test_an_error_of_the_gpu_is_a_sentence_and_closing_still_works(
    device: Install, package: Package, cuda: str, caplog: pytest.LogCaptureFixture
) -> None:
    machine, artifact = device(cuda=cuda), package()
    session = opened(artifact)
    session.run(batch_for(artifact))
    machine.sticky = m.ILLEGAL_ADDRESS
    with pytest.raises(EdgeYoloError, match="illegal memory access") as caught:
        session.run(batch_for(artifact))
    assert "start the process again" in caught.value.hint
    with caplog.at_level(logging.WARNING):
        session.close()
    assert "on closing" in caplog.text


def test_an_engine_of_another_gpu_says_what_to_rebuild(
    device: Install, package: Package, tmp_path: Path
) -> None:
    artifact = package()
    device(FakeGpu("Orin", (8, 7)))
    engine = build_engine(artifact).path
    bare = tmp_path / "trtexec.engine"
    bare.write_bytes(engine.read_bytes())
    device(FakeGpu("NVIDIA A10", (8, 6)))
    contracts = artifact.manifest.input, artifact.manifest.output
    with pytest.raises(
        RuntimeMissingError, match=r"built on Orin \(8\.7\), this is NVIDIA A10 \(8\.6\)"
    ) as caught:
        open_engine(engine, *contracts)
    assert "edgeyolo build DIR" in caught.value.hint
    with pytest.raises(RuntimeMissingError, match="incompatible device") as caught:
        open_engine(bare, *contracts)
    assert "edgeyolo build DIR --force" in caught.value.hint


def test_an_engine_of_another_tensorrt_says_what_to_rebuild(
    device: Install, package: Package, tmp_path: Path
) -> None:
    artifact = package()
    device(tensorrt="10.3.0")
    engine = build_engine(artifact).path
    bare = tmp_path / "trtexec.engine"
    bare.write_bytes(engine.read_bytes())
    device(tensorrt="11.4.0.106")
    contracts = artifact.manifest.input, artifact.manifest.output
    with pytest.raises(
        RuntimeMissingError, match=r"built with TensorRT 10\.3\.0, this is TensorRT 11\.4\.0\.106"
    ):
        open_engine(engine, *contracts)
    with pytest.raises(RuntimeMissingError, match=r"expecting library version 11\.4\.0\.106 got 10\.3\.0"):
        open_engine(bare, *contracts)


def test_an_engine_of_trtexec_runs(device: Install, package: Package, tmp_path: Path) -> None:
    device()
    artifact = package()
    bare = tmp_path / "trtexec.engine"
    bare.write_bytes(build_engine(artifact).path.read_bytes())
    session = open_engine(bare, artifact.manifest.input, artifact.manifest.output)
    batch = batch_for(artifact)
    assert_same(session.run(batch), expected(artifact, batch))
    session.close()


def test_rubbish_and_nothing_are_refused(device: Install, package: Package, tmp_path: Path) -> None:
    machine, artifact = device(), package()
    rubbish = tmp_path / "model.engine"
    contracts = artifact.manifest.input, artifact.manifest.output
    with pytest.raises(DamagedFileError, match="there is no such engine"):
        open_engine(rubbish, *contracts)
    rubbish.write_bytes(b"rubbish")
    with pytest.raises(RuntimeMissingError, match="Magic tag does not match"):
        open_engine(rubbish, *contracts)
    assert machine.left_over() == []


def test_an_engine_of_another_network_is_refused(device: Install, package: Package) -> None:
    from dataclasses import replace

    machine, artifact = device(), package()
    engine = build_engine(artifact).path
    given, made = artifact.manifest.input, artifact.manifest.output
    with pytest.raises(DamagedFileError, match=r"takes \['images'\] and gives \['p3', 'p4', 'p5'\]"):
        open_engine(engine, given, replace(made, names=("a", "b", "c")))
    with pytest.raises(DamagedFileError, match="engine takes float32, the manifest says uint8"):
        open_engine(engine, replace(given, dtype="uint8"), made)
    session = open_engine(engine, given, replace(made, classes=5))
    with pytest.raises(DamagedFileError, match=r"the engine gives .*, the manifest says"):
        session.run(batch_for(artifact))
    session.close()
    assert machine.left_over() == []


def test_threads_limit_tensorrts_own(device: Install, package: Package) -> None:
    device()
    session = registry.open_session(package(), threads=2)
    assert session._runtime.max_threads == 2  # type: ignore[attr-defined]
    session.close()
