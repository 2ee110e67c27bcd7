"""`Detector.stream` beside a plain loop and a pipeline by hand, in turns.

    python benchmarks/scripts/stream.py [--write]
    python benchmarks/scripts/stream.py --artifact yolov7-tiny-openvino --film street.mp4 --seconds 20

The film is 1080p H.264, made for the run. Three ways read it again and again, each for a while in turn, so that what
else the machine does falls on all of them: a loop of `cv2.VideoCapture` and `detector(frame)`; a pipeline by hand, with
a thread that decodes by PyAV, the runtime's own asynchronous requests and this package's preparation and decoding; and
`detector.stream`. Ratios are medians over the turns. `--camera` measures the seconds from capture to result instead,
with a camera of 30 frames a second that is faster than the network.
"""

from __future__ import annotations

import argparse
import os
import platform
import queue
import statistics
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pre_post import photograph
from result_files import write

from edgeyolo import Detector
from edgeyolo.backend.interface import AsynchronousSession
from edgeyolo.export import ExportOptions, export
from edgeyolo.stream import open_source
from edgeyolo.stream.film_writer import FilmWriter
from edgeyolo.support.machine import cores, processor_name

TARGETS = ("cpu-onnx-fp32", "cpu-openvino-fp32")
WAYS = ("plain loop", "by hand", "stream")
LEAST = 0.97
"""Frames a second of the stream beside those of the pipeline by hand."""

Picture = NDArray[np.uint8]


def moving_pictures(count: int) -> Iterator[Picture]:
    """1080p pictures (1080, 1920, 3) of a camera that pans over a photograph."""
    scene = cv2.resize(photograph(), (2400, 1350))
    for number in range(count):
        left, top = round(240 + 200 * np.sin(number / 30)), round(135 + 100 * np.cos(number / 40))
        picture = np.ascontiguousarray(scene[top : top + 1080, left : left + 1920], np.uint8)
        cv2.circle(picture, (100 + 5 * number % 1800, 500), 80, (0, 0, 255), -1)
        yield picture


def make_film(path: Path, frames: int = 300) -> Path:
    """Write the film."""
    with FilmWriter(path) as film:
        for number, picture in enumerate(moving_pictures(frames)):
            film.write(picture, number / 30)
    return path


def plain_loop(detector: Detector, film: Path) -> Iterator[object]:
    """One thing after the other."""
    capture = cv2.VideoCapture(str(film))
    while True:
        read, image = capture.read()
        if not read:
            return
        yield detector(image)


def by_hand(detector: Detector, film: Path) -> Iterator[object]:
    """The runtime by hand: a decoding thread, and requests in flight."""
    import av

    frames: queue.Queue[Picture | None] = queue.Queue(4)

    def decode() -> None:
        with av.open(str(film)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                frames.put(frame.to_ndarray(format="bgr24"))
        frames.put(None)

    pipeline = detector.pipeline
    session = pipeline.session
    threading.Thread(target=decode, daemon=True).start()
    flying: deque[tuple[Future[Any], list[Any]]] = deque()
    with ThreadPoolExecutor(1) as one:
        while (image := frames.get()) is not None:
            batch, boxes = pipeline.preprocess([image])
            if isinstance(session, AsynchronousSession):
                flying.append((session.submit(batch), boxes))
            else:
                flying.append((one.submit(session.run, np.array(batch)), boxes))
            if len(flying) > 2:
                future, boxes = flying.popleft()
                yield pipeline.postprocess(future.result(), boxes)
        for future, boxes in flying:
            yield pipeline.postprocess(future.result(), boxes)


def streamed(detector: Detector, film: Path) -> Iterator[object]:
    """The package's own."""
    with detector.stream(film) as stream:
        yield from stream


def rates(detector: Detector, film: Path, seconds: float, turns: int) -> dict[str, list[float]]:
    """Frames a second of each way in each turn."""
    ways: dict[str, Callable[[Detector, Path], Iterator[object]]] = dict(
        zip(WAYS, (plain_loop, by_hand, streamed), strict=True)
    )
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-1, turns):  # the first turn warms up
        for name in islice(cycle(ways), turn % 3, turn % 3 + 3):
            start, frames = time.perf_counter(), 0
            for _ in ways[name](detector, film):
                frames += 1
                if (took := time.perf_counter() - start) > seconds:
                    break
            if turn >= 0:
                found[name].append(frames / took)
    return found


def summary(found: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, and the stream beside the other two, turn by turn."""
    stream = found["stream"]
    beside = {
        name: statistics.median(ours / theirs for ours, theirs in zip(stream, found[name], strict=True))
        for name in ("by hand", "plain loop")
    }
    return {
        "frames a second": {name: round(statistics.median(values), 2) for name, values in found.items()},
        "stream beside": {name: round(ratio, 3) for name, ratio in beside.items()},
        "turns": len(stream),
    }


def latencies(detector: Detector, seconds: float) -> dict[str, Any]:
    """Seconds from capture to result with a camera of 30 frames a second."""
    pictures = list(moving_pictures(30))

    def camera() -> Iterator[tuple[float, Picture]]:
        due = time.monotonic()
        for picture in cycle(pictures):
            due += 1 / 30
            time.sleep(max(due - time.monotonic(), 0))
            yield time.monotonic(), picture

    network = []
    for picture in pictures:
        start = time.perf_counter()
        detector(picture)
        network.append(time.perf_counter() - start)
    end = time.monotonic() + seconds
    with detector.stream(open_source(camera(), policy="freshest")) as stream:
        for _ in stream:
            if time.monotonic() > end:
                break
        progress = stream.progress
    one = statistics.median(network)
    waits = {name: progress.latency(share) or 0.0 for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {
        "single image ms": round(one * 1e3, 1),
        "latency ms": {name: round(value * 1e3, 1) for name, value in waits.items()},
        "latency in network times": {name: round(value / one, 2) for name, value in waits.items()},
        "frames": progress.frames,
        "dropped": dict(progress.counts.dropped),
    }


def artifacts(folder: Path) -> dict[str, Path]:
    """yolov7-tiny at 640 with random weights, and the demo's network at 320."""
    from edgeyolo.models.specs import get
    from edgeyolo_bench.measure.random_weights import save_random

    save_random(folder / "tiny.safetensors", get("yolov7-tiny"))
    scenes = Path(__file__).parents[1] / "weights/scenes.safetensors"
    found = {}
    for target in TARGETS:
        for name, weights, size in (
            ("yolov7-tiny 640", folder / "tiny.safetensors", 640),
            ("demo 320", scenes, 320),
        ):
            place = folder / f"{name}-{target}".replace(" ", "-")
            found[f"{name}, {target}"] = export(weights, target, place, ExportOptions(size=(size, size))).path
    return found


def main() -> None:
    """Measure, print, and with --write leave benchmarks/results/stream.json and .md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--artifact", type=Path, action="append", help="measure with these instead")
    parser.add_argument("--film", type=Path, help="another film")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each way in a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--camera", action="store_true", help="latency with a camera instead")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/stream.*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeyolo-stream-") as place:
        given = {path.name: path for path in options.artifact or ()}
        film = options.film or make_film(Path(place) / "film.mp4")
        results: dict[str, Any] = {}
        for name, artifact in (given or artifacts(Path(place))).items():
            with Detector(artifact, conf=0.25) as detector:
                if not options.camera:
                    results[name] = summary(rates(detector, film, options.seconds, options.turns))
                if options.camera or options.write:
                    results.setdefault(name, {}).update(latencies(detector, options.seconds * 3))
            print(name, results[name], flush=True)
    if options.write:
        _write(results)


def _write(results: dict[str, Any]) -> None:
    facts = {
        "processor": processor_name(),
        "cores": cores(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        "results": results,
    }
    lines = [
        f"{processor_name()}, {cores()} cores. Frames a second over a 1080p H.264 film, medians of turns.",
        "",
        "| network | plain loop | by hand | stream | beside by hand | beside plain loop | latency p50 / p99 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in results.items():
        fps, beside, late = row["frames a second"], row["stream beside"], row["latency in network times"]
        lines.append(
            f"| {name} | {fps['plain loop']} | {fps['by hand']} | {fps['stream']} | {beside['by hand']} | "
            f"{beside['plain loop']} | {late['p50']} / {late['p99']} network times |"
        )
    write("stream", facts, lines)


if __name__ == "__main__":
    main()
