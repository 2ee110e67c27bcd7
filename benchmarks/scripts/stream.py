"""`Detector.stream` beside a plain loop and a pipeline by hand, in turns.

    python benchmarks/scripts/stream.py [--write]
    python benchmarks/scripts/stream.py --artifact yolov7-tiny-openvino --film street.mp4 --seconds 20

The film is 1080p H.264, made for the run. Three ways read it again and again, each for a while in turn, so that what
else the machine does falls on all of them: a loop of `cv2.VideoCapture` and `detector(frame)`; a pipeline by hand, with
a thread that decodes by PyAV, the runtime's own asynchronous requests and this package's preparation and decoding; and
`detector.stream`. Two ratios are given: the median over the turns, and that of the best turns, which what else runs
disturbs least. The stream holds where one of them does; exit code 1 says that it did not.

Latency is that from capture to result with a camera of 30 frames a second, more where the network is quicker than that:
the camera is always a third faster than the network.
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
from contextlib import closing
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
LEAST = {"by hand": 0.97, "plain loop": 1.0}
"""Frames a second of the stream beside those of the other ways."""
FULL = 6
"""Frames before the clock starts: a pipeline has as many under way when it stops as when it started."""
LATENCY = 2.0
"""Times of a single image that the freshest frames stay under, in the 99th percentile."""

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
    left = threading.Event()

    def decode() -> None:
        with av.open(str(film)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                frames.put(frame.to_ndarray(format="bgr24"))
                if left.is_set():
                    return
        frames.put(None)

    pipeline = detector.pipeline
    session = pipeline.session
    threading.Thread(target=decode, daemon=True).start()
    flying: deque[tuple[Future[Any], list[Any]]] = deque()
    try:
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
    finally:  # one that is left early decodes no further, beside those that follow
        left.set()
        while not frames.empty():
            frames.get_nowait()


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
            with closing(ways[name](detector, film)) as results:  # type: ignore[type-var]
                for _ in islice(results, FULL):
                    pass
                start, frames = time.perf_counter(), 0
                for _ in results:
                    frames += 1
                    if (took := time.perf_counter() - start) > seconds:
                        break
            if not frames:
                raise SystemExit(
                    f"{film}: expected more than {FULL} frames, which fill the stream before it is timed"
                )
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
    best = {name: max(stream) / max(found[name]) for name in beside}
    return {
        "frames a second": {name: round(statistics.median(values), 2) for name, values in found.items()},
        "stream beside": {name: round(ratio, 3) for name, ratio in beside.items()},
        "best turns beside": {name: round(ratio, 3) for name, ratio in best.items()},
        "turns": len(stream),
    }


def missed(results: dict[str, Any]) -> list[str]:
    """Sentences on everything that does not hold."""
    found = []
    for name, row in results.items():
        for other, least in LEAST.items():
            ratios = [row[kind][other] for kind in ("stream beside", "best turns beside") if kind in row]
            if ratios and max(ratios) < least:
                found.append(
                    f"{name}: {max(ratios)} of the frames a second of the {other}, at least {least} expected"
                )
        late = row.get("latency in single images", {}).get("p99", 0.0)
        if late >= LATENCY:
            found.append(f"{name}: p99 of the latency is {late} single images, less than {LATENCY} expected")
    return found


def latencies(detector: Detector, seconds: float) -> dict[str, Any]:
    """Seconds from capture to result with a camera that is faster than the network."""
    pictures = list(moving_pictures(30))
    one = statistics.median(_seconds(detector, picture) for picture in pictures)
    period = min(1 / 30, one / 1.33)

    def camera() -> Iterator[tuple[float, Picture]]:
        due = time.monotonic()
        for picture in cycle(pictures):
            due += period
            time.sleep(max(due - time.monotonic(), 0))
            yield time.monotonic(), picture

    end = time.monotonic() + seconds
    with detector.stream(open_source(camera(), policy="freshest")) as stream:
        for _ in stream:
            if time.monotonic() > end:
                break
        progress = stream.progress
    waits = {name: progress.latency(share) or 0.0 for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {
        "single image ms": round(one * 1e3, 1),
        "camera fps": round(1 / period, 1),
        "latency ms": {name: round(value * 1e3, 1) for name, value in waits.items()},
        "latency in single images": {name: round(value / one, 2) for name, value in waits.items()},
        "frames": progress.frames,
        "dropped": dict(progress.counts.dropped),
    }


def _seconds(detector: Detector, picture: Picture) -> float:
    start = time.perf_counter()
    detector(picture)
    return time.perf_counter() - start


def artifacts(folder: Path) -> dict[str, Path]:
    """yolov7-tiny with random weights and the demo's network.

    They are quick enough for many frames a turn.
    """
    from edgeyolo.models.specs import get
    from edgeyolo_bench.measure.random_weights import save_random

    tiny = folder / "tiny.safetensors"
    save_random(tiny, get("yolov7-tiny"))
    scenes = Path(__file__).parents[1] / "weights/scenes.safetensors"
    found = {}
    for name, weights, size, targets in (
        ("yolov7-tiny", tiny, 320, TARGETS),
        ("demo", scenes, 320, TARGETS),
        ("yolov7-tiny", tiny, 640, TARGETS[1:]),
    ):
        for target in targets:
            place = folder / f"{name}-{size}-{target}"
            options = ExportOptions(size=(size, size))
            found[f"{name} {size}, {target}"] = export(weights, target, place, options).path
    return found


def main() -> None:
    """Measure, print, and with --write leave benchmarks/results/stream.json and .md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--artifact", type=Path, action="append", help="measure with these instead")
    parser.add_argument("--film", type=Path, help="another film")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each way in a turn")
    parser.add_argument("--turns", type=int, default=9)
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
                    results.setdefault(name, {}).update(latencies(detector, options.seconds * 5))
            print(name, results[name], flush=True)
    if options.write:
        _write(results)
    if sentences := missed(results):
        raise SystemExit("\n".join(sentences))


def _write(results: dict[str, Any]) -> None:
    facts = {
        "processor": processor_name(),
        "cores": cores(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        "results": results,
    }
    lines = [
        f"{processor_name()}, {cores()} cores. Frames a second over a 1080p H.264 film, medians of turns; ratios are "
        "medians, and those of the best turns. Latency from capture to result with a camera a third faster than the "
        "network, in times of a single image.",
        "",
        "| network | plain loop | by hand | stream | beside by hand | beside plain loop | latency p50 / p99 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in results.items():
        fps, beside, best = row["frames a second"], row["stream beside"], row["best turns beside"]
        late, ms = row["latency in single images"], row["latency ms"]
        lines.append(
            f"| {name} | {fps['plain loop']} | {fps['by hand']} | {fps['stream']} | {beside['by hand']}, best "
            f"{best['by hand']} | {beside['plain loop']}, best {best['plain loop']} | {late['p50']} / {late['p99']} "
            f"({ms['p50']:.0f} / {ms['p99']:.0f} ms) |"
        )
    write("stream", facts, lines)


if __name__ == "__main__":
    main()
