"""Images decoded ahead of the network, in the background and with bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import ImageError
from edgeyolo.evaluation.rectangular import Batch
from edgeyolo.runtime.images import read_image

_BATCHES_AHEAD = 2  # one being decoded while the next waits: more only costs memory
_THREADS = 4  # decoding is faster than any network here, and more threads would take its cores


@dataclass(frozen=True, eq=False)
class Decoded:
    """One image, (h, w, 3) uint8 BGR, or what was wrong with it.

    `milliseconds` is what reading it took.
    """

    pixels: NDArray[np.uint8] | None
    milliseconds: float
    error: str = ""


def decode_ahead(paths: Sequence[Path], batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Decoded]]]:
    """Yield every batch with its images, decoding ahead.

    Batches are in order; the images of the next two are being decoded meanwhile.

    OpenCV and Pillow release Python's lock as they decode, so threads are enough. Stopping early, for any
    reason, lets the images already being decoded finish and drops the rest.
    """
    waiting: deque[tuple[Batch, list[Future[Decoded]]]] = deque()
    pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), thread_name_prefix="decode")
    try:
        for batch in batches:
            waiting.append((batch, [pool.submit(_decode, paths[i]) for i in batch.images]))
            if len(waiting) > _BATCHES_AHEAD:
                yield _finished(waiting)
        while waiting:
            yield _finished(waiting)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finished(waiting: deque[tuple[Batch, list[Future[Decoded]]]]) -> tuple[Batch, list[Decoded]]:
    batch, futures = waiting.popleft()
    return batch, [future.result() for future in futures]


def _decode(path: Path) -> Decoded:
    begin = perf_counter()
    try:
        pixels = read_image(path)
    except ImageError as error:
        return Decoded(None, (perf_counter() - begin) * 1e3, error.message)
    return Decoded(pixels, (perf_counter() - begin) * 1e3)
