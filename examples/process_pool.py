"""A Detector in each process of a pool: `python examples/process_pool.py MODEL PHOTO...`.

A network's threads do not survive a fork, so each process opens a Detector of its own, once, after it has started; and
the processes share the cores: each gets its part of the threads. "spawn" works on every system; with "fork", open no
Detector before the pool is made.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from typing import Any

from edgeyolo import Detector

detector: Detector


def start(model: str, threads: int) -> None:
    """Open this process's Detector."""
    global detector  # noqa: PLW0603 - the one thing that a pool's process keeps between its tasks
    detector = Detector(model, threads=threads)


def detect(path: str) -> tuple[str, list[dict[str, Any]]]:
    """Plain values travel between processes; so do Detections, a little more slowly."""
    return path, detector(path).to_json()


def detect_all(model: str, paths: Sequence[str], processes: int = 2, method: str = "spawn") -> list[Any]:
    """Detect in every image, in the order of the images."""
    threads = max((os.cpu_count() or 1) // processes, 1)
    context = multiprocessing.get_context(method)
    with context.Pool(processes, initializer=start, initargs=(model, threads)) as pool:
        return pool.map(detect, paths)


if __name__ == "__main__":
    for name, objects in detect_all(sys.argv[1], sys.argv[2:]):
        print(name, len(objects), "objects")
