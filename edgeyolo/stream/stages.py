"""Stages of the overlapped pipeline, and the bounds that they keep."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from numpy.typing import NDArray

from edgeyolo.backend.interface import AsynchronousSession
from edgeyolo.errors import FrameError
from edgeyolo.runtime.detections import Detections
from edgeyolo.runtime.input_array import InputArray
from edgeyolo.runtime.pipeline import Pipeline
from edgeyolo.runtime.preprocess import Letterbox
from edgeyolo.stream.frame import Frame
from edgeyolo.stream.in_order import InOrder, Place
from edgeyolo.stream.several import Several
from edgeyolo.stream.source import Source, TimedSource

BUFFERS = 4
"""Input arrays that are filled in turn: one in the network, one ready, one being filled, one to spare."""
WINDOW_S = 0.02
"""A batch of a live source is run when it is full, or so long after its first frame."""

Result = tuple[Frame, Detections]


@dataclass(frozen=True)
class Work:
    """A prepared batch on its way: frames, input array, letterboxes."""

    frames: tuple[Frame, ...]
    batch: NDArray[Any]
    buffer: InputArray  # that the batch is a part of
    letterboxes: list[Letterbox]
    place: Place[Result]


class Gate:
    """Count of batches and frames under way, with a bound.

    It opens as the network and the caller take them.
    """

    def __init__(self, source: Source, batch: int) -> None:
        self._source, self._batch = source, batch
        self._changed = threading.Condition()
        self._inside = 0  # batches between the source and the end of the network
        self._undelivered = 0  # frames between the source and the caller
        self._closed = False

    def enter(self) -> bool:
        """Wait until another batch may be taken from the source.

        False once none is wanted.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._open())
            self._inside += 1
            self._undelivered += self._batch
            return not self._closed

    def taken(self, frames: int) -> None:
        """Say how many frames the batch has."""
        with self._changed:
            self._undelivered -= self._batch - frames
            self._changed.notify_all()

    def left_network(self) -> None:
        """Say that a batch has been through the network."""
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def delivered(self) -> None:
        """Say that a frame was given to the caller."""
        with self._changed:
            self._undelivered -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Let nothing more in."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _open(self) -> bool:
        # Known only when the source has been opened; until then one that gives every frame is assumed.
        inside, waiting = (1, 2) if self._source.fresh else (BUFFERS, BUFFERS)
        return self._inside < inside and self._undelivered < waiting * self._batch


class Workers:
    """Threads that run the network and read its output.

    They share the input arrays.

    A runtime that works on several batches at once gets a thread for each buffer. Any other gets two: one runs the
    network while the other reads what came out of it last.
    """

    def __init__(self, pipeline: Pipeline, results: InOrder[Result], gate: Gate) -> None:
        self._pipeline, self._results, self._gate = pipeline, results, gate
        several = isinstance(pipeline.session, AsynchronousSession)
        self._count = BUFFERS if several else 2
        self._network = threading.Semaphore(BUFFERS if several else 1)
        self._todo: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._buffers: queue.SimpleQueue[InputArray] = queue.SimpleQueue()
        for _ in range(BUFFERS):
            self._buffers.put(pipeline.input_array())

    def threads(self) -> list[threading.Thread]:
        """The threads, not yet started."""
        return [
            threading.Thread(target=self._run, name=f"run network {number}", daemon=True)
            for number in range(self._count)
        ]

    def stop(self) -> None:
        """End the threads when they have done what they are at."""
        for _ in range(self._count):
            self._todo.put(None)

    def buffer(self) -> InputArray:
        """An input array that nobody uses; waits for it."""
        return self._buffers.get()

    def put(self, work: Work) -> None:
        """Hand over a prepared batch."""
        self._todo.put(work)

    def _run(self) -> None:
        while (work := self._todo.get()) is not None:
            try:
                with self._network:
                    outputs = self._pipeline.run(work.batch)
            except Exception as raised:  # noqa: BLE001 - the caller's loop raises it
                self._results.fill(work.place, error=FrameError(raised, work.frames[0]))
                continue
            finally:
                self._buffers.put(work.buffer)
                self._gate.left_network()
            self._finish(work, outputs)

    def _finish(self, work: Work, outputs: dict[str, NDArray[Any]]) -> None:
        try:
            found = self._pipeline.postprocess(outputs, work.letterboxes)
        except Exception as raised:  # noqa: BLE001 - the caller's loop raises it
            self._results.fill(work.place, error=FrameError(raised, work.frames[0]))
        else:
            self._results.fill(work.place, *zip(work.frames, found, strict=True))


@dataclass(frozen=True)
class Feeder:
    """Takes frames from the source, prepares them and hands them to the workers."""

    pipeline: Pipeline
    source: Source
    rows: int  # frames a batch
    workers: Workers
    results: InOrder[Result]
    gate: Gate

    def run(self) -> None:
        """Body of the thread."""
        error: BaseException | None = None
        frames = iter(self.source)
        try:
            while self.gate.enter() and (group := self._group(frames)):
                self._prepare(group)
        except BaseException as raised:  # noqa: BLE001 - the caller's loop raises it
            error = raised
        self.results.finish(error)

    def _group(self, frames: Iterator[Frame]) -> tuple[Frame, ...]:
        """The frames of the next batch; none at the end of the source."""
        group = list(islice(frames, 1))
        deadline = time.monotonic() + WINDOW_S
        while group and len(group) < self.rows:
            if isinstance(self.source, TimedSource) and self.source.live:
                try:
                    frame = self.source.take(max(deadline - time.monotonic(), 0))
                except StopIteration:
                    break
            else:
                frame = next(frames, None)
            if frame is None:
                break
            group.append(frame)
        self.gate.taken(len(group))
        return tuple(group)

    def _prepare(self, frames: tuple[Frame, ...]) -> None:
        """Fill a buffer; an error takes the batch's place in the order."""
        place = self.results.place()
        buffer = self.workers.buffer()
        try:
            batch, letterboxes = self.pipeline.preprocess([frame.held for frame in frames], out=buffer)
        except Exception as raised:  # noqa: BLE001 - the caller's loop raises it
            self.results.fill(place, error=FrameError(raised, frames[0]))
            self.gate.close()
            return
        self.workers.put(Work(frames, batch, buffer, letterboxes, place))


def batch_size(pipeline: Pipeline, source: Source) -> int:
    """Frames a batch: what the network is made for, or of several sources one each."""
    if not pipeline.input.dynamic_batch:
        return pipeline.input.batch
    return min(len(source.sources), pipeline.input.max_batch) if isinstance(source, Several) else 1
