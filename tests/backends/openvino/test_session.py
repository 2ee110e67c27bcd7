"""A loaded OpenVINO network: exact, safe from any thread, asynchronous, and clear about what it cannot load."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.backend.interface import AsynchronousSession, Backend, ParityBackend
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.detector.detector import Detector
from edgeyolo.errors import DamagedFileError, EdgeYoloError, RuntimeMissingError
from edgeyolo.runtime.preprocess import preprocess
from edgeyolo_openvino import OpenvinoBackend, OpenvinoGpuBackend, runtime
from edgeyolo_openvino.session import OpenvinoSession

pytest.importorskip("openvino", reason="needs the openvino extra")

Make = Callable[[Backend, str, Path], Artifact]


@pytest.fixture(scope="module")
def artifact(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make(OpenvinoBackend(), "cpu-openvino-fp32", tmp_path_factory.mktemp("artifact") / "fp32")


def several(artifact: Artifact, count: int) -> list[np.ndarray]:
    """Input arrays of different scenes."""
    return [preprocess([make_scene(seed).image], artifact.manifest.input)[0] for seed in range(count)]


def largest(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(one[name] - other[name]).max() / np.abs(other[name]).max()) for name in other)


def test_the_maps_are_those_of_onnx_runtime(
    artifact: Artifact, small_artifact: Path, batch: np.ndarray
) -> None:
    with (
        closing(OpenvinoBackend().open(artifact)) as session,
        closing(registry.open_session(Artifact.open(small_artifact))) as reference,
    ):
        assert largest(session.run(batch), reference.run(batch)) < 1e-5


def test_float32_stays_float32_where_bfloat16_is_the_default(
    artifact: Artifact, batch: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = runtime.load().Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    with closing(OpenvinoBackend().open(artifact)) as exact:
        expected = exact.run(batch)
    monkeypatch.setenv("EDGEYOLO_OPENVINO_PRECISION", "bf16")
    with closing(OpenvinoBackend().open(artifact)) as rounded:
        assert largest(rounded.run(batch), expected) > 1e-4


@pytest.mark.parametrize("device", ["AUTO", "HETERO:CPU", "MULTI:CPU"])
def test_other_ways_to_a_device_give_the_same_maps(
    artifact: Artifact, batch: np.ndarray, device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fmt: skip
    monkeypatch.setattr(runtime, "devices", lambda: ("CPU",))
    with closing(OpenvinoBackend().open(artifact)) as session:
        expected = session.run(batch)
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path))
    monkeypatch.setenv("EDGEYOLO_OPENVINO_DEVICE", device)
    monkeypatch.setenv("EDGEYOLO_OPENVINO_HINT", "throughput")
    with closing(OpenvinoBackend().open(artifact, threads=2)) as session:
        assert largest(session.run(batch), expected) < 1e-5


def test_futures_give_what_run_gives(artifact: Artifact) -> None:
    batches = several(artifact, 6)
    with closing(OpenvinoBackend().open(artifact)) as session:
        alone = [session.run(batch) for batch in batches]
        futures = [session.submit(batch) for batch in batches]
        for future, expected in zip(futures, alone, strict=True):
            assert all(np.array_equal(future.result()[name], expected[name]) for name in expected)


def requests_of(detector: Detector) -> int:
    """Number of inference requests that OpenVINO wants in flight."""
    session = detector.pipeline.session
    assert isinstance(session, OpenvinoSession)
    return int(session._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))


def test_the_hint_of_a_detector_reaches_the_device(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes before EDGEYOLO_OPENVINO_HINT; many images are in flight, and each future gives its own detections."""
    monkeypatch.setenv("EDGEYOLO_OPENVINO_HINT", "latency")
    images = [make_scene(seed).image for seed in range(8)]
    with Detector(artifact.path, conf=0.01, threads=2) as usual:
        assert requests_of(usual) == 1
        expected = [usual(image).to_json() for image in images]
    assert any(expected)
    assert len({str(each) for each in expected}) > 1
    with Detector(artifact.path, conf=0.01, threads=2, hint="throughput") as detector:
        assert requests_of(detector) > 1
        assert isinstance(detector.pipeline.session, AsynchronousSession)
        futures = [detector.submit(image) for image in images]
        assert [future.result(timeout=20).to_json() for future in futures] == expected
    monkeypatch.setenv("EDGEYOLO_OPENVINO_HINT", "throughput")
    with Detector(artifact.path, threads=2) as detector:
        assert requests_of(detector) > 1
    with Detector(artifact.path, threads=2, hint="latency") as detector:
        assert requests_of(detector) == 1


def test_the_hint_stays_with_one_of_several_devices() -> None:
    from edgeyolo.backend.devices import Device

    gpu = registry.tuned(registry.placed(OpenvinoGpuBackend(), Device("gpu", 1)), "throughput")
    assert isinstance(gpu, OpenvinoGpuBackend)
    assert (gpu.placed, gpu.hint) == ("GPU.1", "throughput")
    other = registry.placed(gpu, Device("gpu", 2))
    assert isinstance(other, OpenvinoGpuBackend)
    assert (other.placed, other.hint, gpu.placed) == ("GPU.2", "throughput", "GPU.1")
    assert OpenvinoGpuBackend().hint is None


def test_the_buffer_may_be_refilled_after_submitting(artifact: Artifact, batch: np.ndarray) -> None:
    with closing(OpenvinoBackend().open(artifact)) as session:
        expected = session.run(batch)
        buffer = batch.copy()
        future = session.submit(buffer)
        buffer[:] = 0
        assert all(np.array_equal(future.result()[name], expected[name]) for name in expected)


def test_arrays_of_any_memory_layout_are_taken(artifact: Artifact, batch: np.ndarray) -> None:
    with closing(OpenvinoBackend().open(artifact)) as session:
        expected = session.run(batch)
        frozen = batch.copy()
        frozen.setflags(write=False)
        strided = np.asfortranarray(batch)
        for odd in (frozen, strided):
            found = session.run(odd)
            assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_future_cannot_be_cancelled_and_so_never_loses_its_request(
    artifact: Artifact, batch: np.ndarray
) -> None:
    with closing(OpenvinoBackend().open(artifact)) as session:
        futures = [session.submit(batch) for _ in range(5)]
        assert not any(future.cancel() for future in futures)
        assert all(future.result() for future in futures)


def test_closing_lets_what_runs_end(artifact: Artifact, batch: np.ndarray) -> None:
    session = OpenvinoBackend().open(artifact)
    futures = [session.submit(batch) for _ in range(2)]
    session.close()
    assert all(future.result(timeout=10)["p3"].shape[0] == 1 for future in futures)
    with pytest.raises(EdgeYoloError, match="closed"):
        session.submit(batch)


def test_a_callback_may_close_the_session(artifact: Artifact, batch: np.ndarray) -> None:
    session, closed = OpenvinoBackend().open(artifact), Event()

    def close(_: Future[object]) -> None:
        session.close()
        closed.set()

    session.submit(batch).add_done_callback(close)
    assert closed.wait(timeout=10)


def test_closing_wakes_waiting_requests(artifact: Artifact, batch: np.ndarray) -> None:
    session = OpenvinoBackend().open(artifact)
    taken = []
    while session._free:
        taken.append(session._take())
    told: list[BaseException] = []

    def wait() -> None:
        try:
            session.run(batch)
        except EdgeYoloError as error:
            told.append(error)

    waiting, closing_ = Thread(target=wait), Thread(target=session.close)
    waiting.start()
    closing_.start()
    waiting.join(timeout=10)
    assert "closed" in str(told[0])
    assert closing_.is_alive()  # it waits for the requests that are out
    for request in taken:
        session._give_back(request)
    closing_.join(timeout=10)
    assert not closing_.is_alive()


def test_a_failure_on_the_device_reaches_the_caller_and_frees_the_request(
    artifact: Artifact, batch: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    with closing(OpenvinoBackend().open(artifact)) as session:

        def fail(self: OpenvinoSession, request: object) -> None:
            request.wait()  # type: ignore[attr-defined]
            raise EdgeYoloError("the device fell off the bus")

        with monkeypatch.context() as patched:
            patched.setattr(OpenvinoSession, "_wait", fail)
            for _ in range(4):
                with pytest.raises(EdgeYoloError, match="fell off"):
                    session.run(batch)
                with pytest.raises(EdgeYoloError, match="fell off"):
                    session.submit(batch).result(timeout=10)
        assert session.run(batch)["p3"].shape[0] == 1


def test_threads_and_futures_may_be_mixed(artifact: Artifact) -> None:
    batches = several(artifact, 4) * 3
    with closing(OpenvinoBackend().open(artifact, threads=1)) as session, ThreadPoolExecutor(4) as pool:
        expected = [session.run(batch) for batch in batches]
        futures = [
            pool.submit(session.run, each) if i % 2 else session.submit(each)
            for i, each in enumerate(batches)
        ]
        for future, maps in zip(futures, expected, strict=True):
            assert all(np.array_equal(future.result(timeout=10)[name], maps[name]) for name in maps)


def changed(artifact: Artifact, folder: Path, name: str, data: bytes) -> Artifact:
    """A copy of the artifact with one file replaced, as if its manifest had been sealed over it."""
    copy = Path(shutil.copytree(artifact.path, folder / "changed"))
    (copy / name).write_bytes(data)
    return Artifact(copy, artifact.manifest)


@pytest.mark.parametrize(
    ("name", "cut", "said"),
    [("model.bin", 1000, "weights"), ("model.bin", 0, "weights"), ("model.xml", 5000, "cannot read it")],
)
def test_a_file_cut_short_is_refused(
    artifact: Artifact, tmp_path: Path, name: str, cut: int, said: str
) -> None:
    broken = changed(artifact, tmp_path, name, (artifact.path / name).read_bytes()[:cut])
    with pytest.raises(DamagedFileError, match=said) as caught:
        OpenvinoBackend().open(broken)
    assert str(broken.path) in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('type="Convolution"', 'type="Transmogrify"', "Transmogrify"),
        ('names="p3"', 'names="q3"', "the manifest expects also p3"),
        ('shape="1,3,96,96"', 'shape="1,3,64,64"', r"the network takes \['1', '3', '64', '64'\]"),
        ('shape="1,3,96,96"', 'shape="2,3,96,96"', r"the network takes \['2', '3', '96', '96'\]"),
    ],
)
def test_another_network_is_refused(
    artifact: Artifact, tmp_path: Path, old: str, new: str, said: str
) -> None:
    text = (artifact.path / "model.xml").read_text()
    assert old in text
    with pytest.raises(DamagedFileError, match=said):
        OpenvinoBackend().open(changed(artifact, tmp_path, "model.xml", text.replace(old, new).encode()))


def test_a_file_of_a_newer_openvino_says_so(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (artifact.path / "model.xml").read_text().replace('version="opset4"', 'version="opset99"')
    newer = changed(artifact, tmp_path, "model.xml", text.encode())
    monkeypatch.setattr(runtime, "loaded_version", lambda module: "2022.3.2")
    with pytest.raises(DamagedFileError, match=r"OpenVINO 2022.3.2 cannot read it") as caught:
        OpenvinoBackend().open(newer)
    assert f"OpenVINO {artifact.manifest.tools['openvino']} made it" in caught.value.hint


def test_a_device_that_is_not_there_is_named(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEYOLO_OPENVINO_DEVICE", "GPU.7")
    with pytest.raises(RuntimeMissingError, match=r"GPU\.7"):
        OpenvinoBackend().open(artifact)
    assert "sees no device GPU.7" in OpenvinoBackend().can_run().reason


def test_half_the_weights_cost_a_thousandth(
    make: Make, batch: np.ndarray, artifact: Artifact, tmp_path: Path
) -> None:
    half = make(OpenvinoBackend(), "cpu-openvino-fp16", tmp_path / "fp16")
    with closing(OpenvinoBackend().open(half)) as stored, closing(OpenvinoBackend().open(artifact)) as full:
        deviation = largest(stored.run(batch), full.run(batch))
    assert 0 < deviation < 2e-3


def test_graphics_are_compared_on_the_cpu_and_run_there_on_demand(
    make: Make, monkeypatch: pytest.MonkeyPatch, batch: np.ndarray, artifact: Artifact, tmp_path: Path
) -> None:
    monkeypatch.setattr(runtime, "devices", lambda: ("CPU",))
    backend = OpenvinoGpuBackend()
    assert isinstance(backend, ParityBackend)
    assert backend.parity_runtime in ("OpenVINO's CPU plugin in f16", "OpenVINO's CPU plugin in f32")
    graphics = make(backend, "gpu-openvino-fp16", tmp_path / "gpu")
    assert not backend.can_run().ok
    with closing(OpenvinoBackend().open(artifact)) as session:
        expected = session.run(batch)
    with closing(backend.open_for_parity(graphics)) as stand_in:
        assert largest(stand_in.run(batch), expected) < backend.profiles[0].parity
    monkeypatch.setenv("EDGEYOLO_OPENVINO_DEVICE", "CPU")
    assert backend.can_run().ok
    with closing(backend.open(graphics)) as session:
        assert largest(session.run(batch), expected) < 2e-3
