"""`edgeyolo predict` with two local workers beside two bare loops, in turns.

    python benchmarks/scripts/predict_rate.py [MODEL] [--images 2000] [--turns 5] [--write]

A bare loop is a process that loads a Detector of one thread and calls it with every second file, and keeps what it
finds. Both ways are timed from the call to the end, so the start of the processes counts for both, and of predict also
the output. Ratios are medians over the turns; the processor time is that of all processes. Ends with 1 where predict is
slower than 0.95 of the bare loops.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
from result_files import write

from edgeyolo import Detector
from edgeyolo.artifact.artifact import Artifact
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.predict import Options, predict
from edgeyolo.support.machine import cores, processor_name

WORKERS, LEAST, DISTINCT = 2, 0.95, 64


def make_pictures(folder: Path, count: int) -> list[str]:
    """JPEG files of 640 x 480 pixels; beyond some they are links to the first ones."""
    files = []
    for number in range(count):
        path = folder / f"{number:06d}.jpg"
        if number < DISTINCT:
            cv2.imwrite(str(path), make_scene(number).image)
        else:
            os.link(folder / f"{number % DISTINCT:06d}.jpg", path)
        files.append(str(path))
    return files


def bare(model: str, files: list[str]) -> None:
    """The loop of one process."""
    with Detector(model, threads=1) as detector:
        found = [detector(file) for file in files]
    assert len(found) == len(files)


def bare_loops(model: str, files: list[str]) -> None:
    """Two of them, to the end."""
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=bare, args=(model, files[first::WORKERS])) for first in range(WORKERS)]
    for process in started:
        process.start()
    for process in started:
        process.join()
        assert process.exitcode == 0


def processor_seconds() -> float:
    """Seconds of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and processor seconds."""
    begin, used = time.perf_counter(), processor_seconds()
    work()
    return time.perf_counter() - begin, processor_seconds() - used


def measure(model: str, images: int, turns: int) -> dict[str, Any]:
    """Both ways, in turns."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="edgeyolo-predict-") as place:
        folder = Path(place) / "photos"
        folder.mkdir()
        files = make_pictures(folder, images)
        out = Path(place) / "out.parquet"
        artifact = Artifact.open(model)
        options = Options(workers=WORKERS, overwrite=True)
        timed(lambda: bare_loops(model, files[:DISTINCT]))  # files and libraries are in memory now
        for turn in range(turns):
            ways: list[Callable[[], object]] = [
                lambda: bare_loops(model, files),
                lambda: predict(artifact, folder, out, options),
            ]
            order = (0, 1) if turn % 2 == 0 else (1, 0)
            taken = {way: timed(ways[way]) for way in order}
            rows.append((*taken[0], *taken[1]))
            print(", ".join(f"{value:.2f}" for value in rows[-1]), flush=True)
    return {
        "images": images,
        "turns": turns,
        "bare loops, images a second": round(images / statistics.median(row[0] for row in rows), 1),
        "predict, images a second": round(images / statistics.median(row[2] for row in rows), 1),
        "predict / bare loops": round(statistics.median(row[0] / row[2] for row in rows), 3),
        "processor time, predict / bare loops": round(statistics.median(row[3] / row[1] for row in rows), 3),
    }


def main() -> int:
    """Measure, print, and with --write leave benchmarks/results/predict.json and .md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", help="directory of an artifact, by default the package's")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/predict.*")
    given = parser.parse_args()
    from edgeyolo.detector import builtin

    found = measure(given.model or str(builtin.artifact_path()), given.images, given.turns)
    print(found)
    if given.write:
        facts = {
            "processor": processor_name(),
            "cores": cores(),
            "python": platform.python_version(),
            "load": round(os.getloadavg()[0], 1),
            "model": given.model or "builtin",
        }
        table = [f"| {name} | {value} |" for name, value in found.items()]
        head = (
            f"{processor_name()}, {cores()} cores; model {facts['model']}, {WORKERS} workers of one thread."
        )
        write("predict", facts | found, [head, "", "| | |", "|---|---|", *table])
    return 0 if found["predict / bare loops"] >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
