"""Images of many requests to the workers of a model, in batches.

A lane is a worker with the threads that wait for it, one for each batch that it runs at once. A free thread takes what
waits: up to a batch, or what there is when the oldest image has waited for `max_delay`. While all are busy the queue
fills, so the batches of a loaded server are full without any delay.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeAlias

from edgeyolo.artifact.contracts import MAX_BATCH
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.errors import EdgeYoloError, RequestRefusedError
from edgeyolo.serve.metrics import Metrics
from edgeyolo.serve.settings import Settings
from edgeyolo.serve.worker import Answer, Found, Job, Worker
from edgeyolo.serve.worker_process import WorkerLostError

Open: TypeAlias = "Callable[[], Worker]"

_LONGEST_PAUSE = 30.0


@dataclass(eq=False)
class _Waiting:
    job: Job
    answer: asyncio.Future[Found]
    since: float


@dataclass(eq=False)
class _Lane:
    worker: Worker
    retired: bool = False
    open: bool = True
    threads: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.threads = ThreadPoolExecutor(self.worker.together)


class Queue:
    """The queue of one model and the lanes that empty it.

    It belongs to one event loop.
    """

    def __init__(self, name: str, settings: Settings, metrics: Metrics) -> None:
        self._name, self._settings, self._metrics = name, settings, metrics
        self._waiting: deque[_Waiting] = deque()
        self._accepted = 0
        self._changed = asyncio.Event()
        self._stopping = False
        self._lanes: dict[_Lane, asyncio.Task[None]] = {}
        self._seconds_each = 0.0  # of an image, from batch to batch
        metrics.queue.labels(name).set_function(lambda: len(self._waiting))
        metrics.accepted.labels(name).set_function(lambda: self._accepted)
        metrics.workers.labels(name).set_function(lambda: self.open_lanes)

    @property
    def open_lanes(self) -> int:
        """Number of workers that take images."""
        return sum(lane.open and not lane.retired for lane in self._lanes)

    @property
    def retry_after(self) -> int:
        """Seconds, from 1, in which what is accepted now will be answered."""
        together = sum(lane.worker.together for lane in self._lanes if lane.open and not lane.retired)
        return max(1, math.ceil(self._accepted * self._seconds_each / max(together, 1)))

    def check_count(self, images: int) -> None:
        """Refuse a request of more images than there are places.

        Raises RequestRefusedError with status 413.
        """
        if images > self._settings.limits.queue:
            raise RequestRefusedError(
                f"{images} images in one request, {self._name} takes {self._settings.limits.queue}",
                status=413, cause="too_many_images", hint="Send them in several requests.",
            )  # fmt: skip

    @contextlib.contextmanager
    def admitted(self, images: int) -> Iterator[None]:
        """Hold places for a request's images while it is read, waits and is answered.

        Raises RequestRefusedError with status 503 where there are not as many.
        """
        limit = self._settings.limits.queue
        if self._stopping or self._accepted + images > limit:
            raise RequestRefusedError(
                f"{self._name} is stopping" if self._stopping else f"{self._name}: the queue of {limit} is full",
                status=503, cause="stopping" if self._stopping else "queue_full",
                retry_after=self.retry_after, hint="Send the request again later.",
            )  # fmt: skip
        self._accepted += images
        try:
            yield
        finally:
            self._accepted -= images
            self._changed.set()

    def put(self, job: Job) -> asyncio.Future[Found]:
        """Queue an image. Cancelling the future takes it out again."""
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(job, answer, monotonic()))
        self._changed.set()
        return answer

    def replace(self, workers: Sequence[Worker], reopen: Open) -> list[asyncio.Task[None]]:
        """Let other workers take what comes from now on.

        The old ones finish their batches; the tasks returned end when they are closed.
        """
        old = dict(self._lanes)
        for lane in old:
            lane.retired = True
        for worker in workers:
            lane = _Lane(worker)
            self._lanes[lane] = asyncio.create_task(self._run(lane, reopen))
        self._changed.set()
        return list(old.values())

    async def stop(self) -> None:
        """Answer what was accepted, then close the workers."""
        self._stopping = True
        self._changed.set()
        await asyncio.gather(*self._lanes.values())

    async def _run(self, lane: _Lane, reopen: Open) -> None:
        try:
            await asyncio.gather(*(self._work(lane, reopen) for _ in range(lane.worker.together)))
        finally:
            if lane.open:
                await asyncio.get_running_loop().run_in_executor(lane.threads, lane.worker.close)
            lane.threads.shutdown()
            del self._lanes[lane]

    async def _work(self, lane: _Lane, reopen: Open) -> None:
        """Answer one batch after another."""
        while batch := await self._take(lane):
            try:
                await self._answer(lane, batch)
            except WorkerLostError:
                await self._reopen(lane, reopen)

    async def _take(self, lane: _Lane) -> list[_Waiting]:
        """Wait for a batch; an empty one says that the lane is done."""
        largest = batch_limit(lane.worker.manifest, self._settings.max_batch)
        while not lane.retired:
            self._waiting = deque(each for each in self._waiting if not each.answer.done())
            patience = self._patience(largest)
            if patience is not None and patience <= 0:
                return [self._waiting.popleft() for _ in range(min(largest, len(self._waiting)))]
            if self._stopping and not self._accepted:
                break
            self._changed.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), patience)
        return []

    def _patience(self, largest: int) -> float | None:
        """Seconds to wait for more images; None where there is none yet."""
        if not self._waiting:
            return None
        if len(self._waiting) >= largest or self._stopping:
            return 0.0
        return self._waiting[0].since + self._settings.max_delay - monotonic()

    async def _answer(self, lane: _Lane, batch: list[_Waiting]) -> None:
        """Run a batch and answer its requests.

        Raises WorkerLostError where the lane cannot go on.
        """
        start = monotonic()
        for each in batch:
            self._metrics.stages.labels(self._name, "queue").observe(start - each.since)
        self._metrics.batch.labels(self._name).observe(len(batch))
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(lane.threads, lane.worker.run, [each.job for each in batch])
        except Exception as error:
            for each in batch:
                _settle(each.answer, error)
            if isinstance(error, WorkerLostError):
                raise
            return
        self._note(answer, (monotonic() - start) / len(batch))
        for each, found in zip(batch, answer.found, strict=True):
            _settle(each.answer, found)

    def _note(self, answer: Answer, seconds_each: float) -> None:
        self._seconds_each = (
            0.8 * self._seconds_each + 0.2 * seconds_each if self._seconds_each else seconds_each
        )
        for stage, seconds in answer.seconds.items():
            self._metrics.stages.labels(self._name, stage).observe(seconds)

    async def _reopen(self, lane: _Lane, reopen: Open) -> None:
        """Open a lost worker again, after longer and longer pauses where that fails."""
        self._metrics.lost.labels(self._name).inc()
        loop = asyncio.get_running_loop()
        lane.open, pause = False, 0.5
        await loop.run_in_executor(lane.threads, lane.worker.close)
        while not lane.retired and not (self._stopping and not self._accepted):
            try:
                lane.worker = await loop.run_in_executor(lane.threads, reopen)
            except (EdgeYoloError, OSError):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                lane.open = True
                return


def batch_limit(manifest: Manifest, max_batch: int) -> int:
    """Most images in a batch.

    More than an artifact's own batch would be run as several.
    """
    return min(max_batch, MAX_BATCH if manifest.input.dynamic_batch else manifest.input.batch)


def _settle(answer: asyncio.Future[Found], found: Found | Exception) -> None:
    """Set a future's result, unless its request has given up."""
    if answer.done():
        return
    if isinstance(found, Exception):
        answer.set_exception(found)
    else:
        answer.set_result(found)
