"""The overlapped pipeline, with networks that are as slow, late or broken as the test says."""

from __future__ import annotations

import asyncio
import gc
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeyolo import Detector
from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.errors import FrameError, SourceError, UnsupportedTargetError, UsageError
from edgeyolo.runtime.pipeline import Pipeline
from edgeyolo.stream import Counts, Frame, open_source
from edgeyolo.stream.overlapped import DetectionStream
from edgeyolo.stream.stages import BUFFERS

from .films import number_of, picture, write_film
from .mjpeg_server import served, steady

OUTPUT = RawMaps(("p3",), (8,), (((10.0, 10.0),),), classes=1)


@dataclass
class FakeSession:
    """Gives maps whose first value is the mean of the input, after `work` has been called with the batch."""

    work: Callable[[NDArray[Any]], object] = lambda batch: None
    batches: list[int] = field(default_factory=list)
    running: int = 0
    most: int = 0

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            self.batches.append(len(batch))
            self.work(batch)
            maps = np.full((len(batch), 6, 8, 8), -20, np.float32)
            for row in range(len(batch)):  # one box, whose confidence tells the picture's brightness
                maps[row, 4, 4, 4] = 8.0
                maps[row, 5, 4, 4] = 8.0
                maps[row, 2:4, 4, 4] = 0.0
                maps[row, 0, 4, 4] = float(batch[row].mean()) - 0.5
            return {"p3": maps}
        finally:
            self.running -= 1

    def close(self) -> None:
        pass


class FakeAsynchronous(FakeSession):
    def submit(self, batch: NDArray[Any]) -> Future[dict[str, NDArray[np.float32]]]:
        done: Future[dict[str, NDArray[np.float32]]] = Future()
        done.set_result(self.run(batch))
        return done


def pipeline(session: FakeSession, **contract: Any) -> Pipeline:
    return Pipeline(session, InputContract(64, 64, **contract), OUTPUT, ("thing",))


def grey(value: int) -> NDArray[np.uint8]:
    return np.full((64, 64, 3), value, np.uint8)


def left_of(result: tuple[Frame, Any]) -> float:
    return float(result[1].xyxy[0, 0])


def test_results_come_in_order_with_their_own_frames() -> None:
    rng = np.random.default_rng(0)
    pauses = iter(rng.uniform(0, 0.01, 100))
    for kind in (FakeSession, FakeAsynchronous):
        session = kind(lambda _: time.sleep(next(pauses)))
        plain = pipeline(FakeSession())
        images = [grey(5 * number) for number in range(40)]
        with DetectionStream(pipeline(session), open_source(images)) as stream:
            results = list(stream)
        assert [frame.index for frame, _ in results] == list(range(40))
        for (frame, found), image in zip(results, images, strict=True):
            assert frame.image is image
            assert found == plain([image])[0]
        assert len({left_of(result) for result in results}) > 30


def test_a_runtime_that_works_on_several_gets_several_and_another_one_at_a_time() -> None:
    slow = lambda _: time.sleep(0.02)  # noqa: E731
    one, several = FakeSession(slow), FakeAsynchronous(slow)
    for session in (one, several):
        assert len(list(DetectionStream(pipeline(session), open_source([grey(0)] * 20)))) == 20
    assert one.most == 1
    assert 1 < several.most <= BUFFERS


def test_stages_overlap() -> None:
    """Each waits until reading, the network and the caller are at work at the same time."""
    at_work: set[str] = set()
    changed = threading.Condition()

    def meet(name: str) -> bool:
        with changed:
            at_work.add(name)
            changed.notify_all()
            return changed.wait_for(lambda: len(at_work) == 3, 60)

    def source() -> Iterator[NDArray[np.uint8]]:
        for number in range(20):
            if number == 3:  # those before are on their way to the others
                meet("source")
            yield grey(number)

    runs = itertools.count()
    session = FakeSession(lambda _: meet("network") if next(runs) == 1 else None)
    for frame, _ in DetectionStream(pipeline(session), open_source(source())):
        assert frame.index or meet("caller")
    assert frame.index == 19


def test_a_slow_caller_holds_the_source_back() -> None:
    read = []

    def source() -> Iterator[NDArray[np.uint8]]:
        for number in range(100):
            read.append(number)
            yield grey(number)

    stream = DetectionStream(pipeline(FakeSession()), open_source(source()))
    next(stream)
    time.sleep(0.2)
    assert len(read) <= BUFFERS + 3
    stream.close()


def test_an_error_of_the_network_comes_once_with_its_frame_after_the_results_before_it() -> None:
    def work(batch: NDArray[Any]) -> None:
        if batch.mean() > 0.5:
            raise UnsupportedTargetError("no such layer", hint="another target")

    images = [grey(0)] * 5 + [grey(255)] + [grey(0)] * 20
    for session in (FakeSession(work), FakeAsynchronous(work)):
        stream = DetectionStream(pipeline(session), open_source(images))
        seen = []
        with pytest.raises(FrameError, match="frame 5: no such layer") as caught:
            for frame, _ in stream:
                seen.append(frame.index)
        assert seen == [0, 1, 2, 3, 4]
        assert caught.value.frame.index == 5
        assert caught.value.exit_code == UnsupportedTargetError.exit_code
        assert caught.value.hint == "another target"
        assert isinstance(caught.value.__cause__, UnsupportedTargetError)
        assert list(stream) == []


def test_an_error_of_preparation_and_of_postprocessing_too() -> None:
    class Broken(FakeSession):
        def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
            return {} if batch.mean() > 0.5 else super().run(batch)

    with pytest.raises(FrameError, match=r"frame 2: .*p3"):
        list(DetectionStream(pipeline(Broken()), open_source([grey(0), grey(0), grey(255)])))
    odd = [Frame(grey(0), 0.0, 0, "a"), Frame(np.zeros((4, 4), np.uint8), 0.1, 1, "a")]

    class Frames:
        name, total, fresh = "odd", 2, False
        counts = Counts()

        def __iter__(self) -> Iterator[Frame]:
            return iter(odd)

        def close(self) -> None:
            pass

    seen = []
    with pytest.raises(FrameError, match="frame 1: image"):
        for frame, _ in DetectionStream(pipeline(FakeSession()), Frames()):  # type: ignore[arg-type]
            seen.append(frame.index)
    assert seen == [0]


def test_an_error_of_the_source_comes_once_after_its_frames() -> None:
    def source() -> Iterator[NDArray[np.uint8]]:
        yield grey(1)
        yield grey(2)
        raise SourceError("the camera is gone")

    stream = DetectionStream(pipeline(FakeSession()), open_source(source()))
    assert [next(stream)[0].index, next(stream)[0].index] == [0, 1]
    with pytest.raises(SourceError, match="gone"):
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)


def test_fixed_batches_are_filled_and_the_last_one_padded() -> None:
    session = FakeSession()
    results = list(DetectionStream(pipeline(session, batch=4), open_source([grey(n) for n in range(10)])))
    assert [frame.index for frame, _ in results] == list(range(10))
    assert session.batches == [4, 4, 4]
    assert len({left_of(result) for result in results}) == 10


def test_batches_over_several_sources(tmp_path: Path) -> None:
    films = [write_film(tmp_path / f"{n}.mp4", [k / 30 for k in range(8)], size=(64, 64)) for n in range(3)]
    session = FakeSession()
    results = list(DetectionStream(pipeline(session, dynamic_batch=True), open_source(films)))
    assert sum(session.batches) == 24
    assert max(session.batches) == 3
    for film in films:
        assert [frame.index for frame, _ in results if frame.source == str(film)] == list(range(8))


def test_a_batch_of_cameras_is_run_when_its_window_is_over() -> None:
    """And not when the camera that gives nothing counts as silent, or when the other has given a second frame."""
    session = FakeSession()
    with served(steady(4000, rate=10)) as first, served(lambda n, send, stop: stop.wait(60)) as second:
        source = open_source([first.url, second.url], reconnection=None, silent_after=600)
        with DetectionStream(pipeline(session, dynamic_batch=True), source) as stream:
            for _ in islice(stream, 100):
                if 1 in session.batches:
                    break
    assert 1 in session.batches


def test_fresh_frames_are_taken_when_the_network_is_about_to_be_free() -> None:
    """While the network is busy, frames come and go: the next one it gets was captured when it was free again."""
    busy, go = threading.Semaphore(0), threading.Semaphore(0)

    def work(_: NDArray[Any]) -> None:
        busy.release()
        go.acquire(timeout=60)

    results: list[tuple[Frame, Any]] = []
    newest = [0]
    with (
        served(steady(2000, rate=100)) as camera,
        DetectionStream(pipeline(FakeSession(work)), open_source(camera.url)) as stream,
    ):
        caller = threading.Thread(target=lambda: results.extend(islice(stream, 4)), daemon=True)
        caller.start()
        for _ in range(4):
            assert busy.acquire(timeout=60)
            enough, deadline = stream.counts.captured + 10, time.monotonic() + 60
            while stream.counts.captured < enough and time.monotonic() < deadline:
                time.sleep(0.005)
            newest.append(stream.counts.captured - 1)
            go.release()
        caller.join(60)
        progress = stream.progress
        go.release(100)
    assert all(frame.index >= least for (frame, _), least in zip(results, newest, strict=False))
    assert len(results) == progress.frames == 4
    assert (progress.latency(0.5) or 0) > 0
    assert progress.fps > 0
    assert progress.counts.dropped["newer"] >= 25
    assert "dropped" in str(progress)


def test_async_for_with_two_streams_at_once() -> None:
    async def collect(number: int) -> list[int]:
        found = []
        with DetectionStream(
            pipeline(FakeSession(lambda _: time.sleep(0.02))), open_source([grey(number)] * 10)
        ) as stream:
            async for frame, _ in stream:
                found.append(frame.index)
        return found

    async def both() -> tuple[list[list[int]], int]:
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0.005)

        heart = asyncio.create_task(beat())
        found = await asyncio.gather(collect(1), collect(2))
        heart.cancel()
        return list(found), beats

    found, beats = asyncio.run(both())
    assert found == [list(range(10))] * 2
    assert beats >= 5  # the event loop was not held up


def test_cancelling_a_wait_loses_no_frame() -> None:
    async def read() -> list[int]:
        stream = DetectionStream(
            pipeline(FakeSession(lambda _: time.sleep(0.05))), open_source([grey(0)] * 8)
        )
        found: list[int] = []
        while len(found) < 8:
            try:
                frame, _ = await asyncio.wait_for(anext(stream), 0.01)
                found.append(frame.index)
            except asyncio.TimeoutError:
                continue
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        return found

    assert asyncio.run(read()) == list(range(8))


def test_an_error_reaches_async_for() -> None:
    def work(batch: NDArray[Any]) -> None:
        raise ZeroDivisionError

    async def read() -> None:
        async for _ in DetectionStream(pipeline(FakeSession(work)), open_source([grey(0)])):
            pass

    with pytest.raises(FrameError, match="ZeroDivisionError"):
        asyncio.run(read())


def test_no_thread_stays_after_the_end_an_error_or_closing() -> None:
    before = threading.active_count()
    for how in ("end", "error", "close"):
        session = FakeSession((lambda _: 1 / 0) if how == "error" else (lambda _: None))
        stream = DetectionStream(pipeline(session), open_source(grey(n % 250) for n in range(50)))
        if how == "close":
            next(stream)
            stream.close()
            stream.close()
        elif how == "error":
            with pytest.raises(FrameError):
                list(stream)
        else:
            assert len(list(stream)) == 50
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_closing_from_another_thread_ends_a_loop_at_once() -> None:
    forever, late = threading.Event(), threading.Event()

    def source() -> Iterator[NDArray[np.uint8]]:
        yield grey(0)
        forever.wait(60)
        late.set()

    stream = DetectionStream(pipeline(FakeSession()), open_source(source()))
    next(stream)
    threading.Timer(0.1, stream.close).start()
    assert list(stream) == []
    assert not late.is_set()
    forever.set()


def test_closing_waits_for_a_run_of_the_network() -> None:
    inside, go = threading.Event(), threading.Event()

    def work(_: NDArray[Any]) -> None:
        inside.set()
        go.wait(20)

    session = FakeSession(work)
    stream = DetectionStream(pipeline(session), open_source(grey(n) for n in range(9)))
    threading.Thread(target=lambda: list(stream), daemon=True).start()
    assert inside.wait(20)
    threading.Timer(0.1, go.set).start()
    stream.close()
    assert go.is_set() and not session.running


UNCLOSED = """
import sys, time
from tests.stream.test_overlapped import DetectionStream, FakeSession, grey, open_source, pipeline
def work(_):
    print("in", flush=True)
    time.sleep(1.2)
    print("out", flush=True)
stream = DetectionStream(pipeline(FakeSession(work)), open_source(grey(n) for n in range(9)))
next(stream)
"""
CLOSED = UNCLOSED + "stream.close()"
BLOCKED = """
import time
from tests.stream.test_overlapped import DetectionStream, FakeSession, grey, open_source, pipeline
def camera():
    yield grey(0)
    time.sleep(300)
next(DetectionStream(pipeline(FakeSession()), open_source(camera())))
"""


@pytest.mark.parametrize("program", [UNCLOSED, CLOSED])
def test_a_process_ends_after_what_is_in_the_network(program: str) -> None:
    """A runtime whose run comes back to an interpreter that is gone aborts the process."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words.count("in") == words.count("out") >= 1


def test_a_process_ends_while_a_generator_waits() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_detector_streams_what_it_detects_in_single_images(small_artifact: Path, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", [0, 0.04, 0.1, 0.5], size=(96, 128))
    with Detector(small_artifact, conf=0.01) as detector:
        results = list(detector.stream(film))
        assert [frame.time for frame, _ in results] == pytest.approx([0, 0.04, 0.1, 0.5], abs=1e-3)
        assert [number_of(frame.image) for frame, _ in results] == [0, 1, 2, 3]
        assert sum(len(found) for _, found in results)
        for frame, found in results:
            assert found == detector(frame.image)
        assert len(list(detector.stream([picture(1)] * 3))) == 3
        assert [frame.index for frame, _ in detector.stream(str(film), max_fps=5)] == [0, 3]
        with pytest.raises(UsageError, match="policy"):
            detector.stream(film, policy="latest")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="closed"):
        detector.stream(film)


def test_boxes_from_planes_are_those_from_pixels_within_what_is_stated(tmp_path: Path) -> None:
    """On generated scenes, with the network of the demo's weights where torch can export them."""
    pytest.importorskip("torch", reason="needs the export extra")
    from edgeyolo.datasets.scenes import make_scene
    from edgeyolo.export import ExportOptions, export
    from edgeyolo.runtime.nms import box_iou
    from edgeyolo.stream.film_writer import FilmWriter

    weights = Path(__file__).parents[2] / "benchmarks/weights/scenes.safetensors"
    artifact = export(weights, "cpu-onnx-fp32", tmp_path / "scenes", ExportOptions(size=(320, 320)))
    with FilmWriter(tmp_path / "film.mp4") as film:
        for number in range(12):
            film.write(make_scene(number, (360, 640)).image, number / 30)
    with Detector(artifact.path, conf=0.3) as detector:
        pixels = list(detector.stream(tmp_path / "film.mp4"))
        planes = list(detector.stream(open_source(tmp_path / "film.mp4", planes=True)))
    apart, objects = [], 0
    for (_, one), (_, other) in zip(pixels, planes, strict=True):
        sure = one[one.confidence > 0.5]
        objects += len(sure)
        for index in range(len(sure)):
            overlaps = box_iou(sure.xyxy[index : index + 1], other.xyxy)[0]
            best = int(overlaps.argmax())
            assert overlaps[best] > 0.8
            assert sure.class_id[index] == other.class_id[best]
            apart.append(abs(sure.confidence[index] - other.confidence[best]))
            assert np.abs(sure.xyxy[index] - other.xyxy[best]).max() < 2
    assert objects > 20
    assert np.median(apart) < 0.02
    assert max(apart) < 0.1
