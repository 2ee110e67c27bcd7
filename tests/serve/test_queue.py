"""The queue: batches, refusals, time, lost workers, reloads, the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.errors import EdgeYoloError, RequestRefusedError
from edgeyolo.runtime.detections import Detections
from edgeyolo.serve.metrics import Metrics
from edgeyolo.serve.queue import Queue
from edgeyolo.serve.settings import Limits, Settings
from edgeyolo.serve.worker import Answer, Found, Job
from edgeyolo.serve.worker_process import WorkerLostError

from .serving import settings


class Fake:
    """A worker that waits until it is let go, and notes its batches; `fails` is raised by the next one."""

    together = 1

    def __init__(self, manifest: Manifest, *, go: bool = True) -> None:
        self.manifest, self.go = manifest, threading.Event()
        self.sizes: list[int] = []
        self.fails: Exception | None = None
        self.closed = False
        if go:
            self.go.set()

    def run(self, jobs: Sequence[Job]) -> Answer:
        assert not self.closed and self.go.wait(20)
        self.sizes.append(len(jobs))
        if self.fails:
            failure, self.fails = self.fails, None
            raise failure
        names = self.manifest.class_names
        return Answer([Found(Detections.empty(names, (len(job.image), 1))) for job in jobs], {"decode": 0.1})

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def manifest(served: Path) -> Manifest:
    return Artifact.open(served).manifest


def job(height: int = 1) -> Job:
    return Job(np.zeros((height, 1, 3), np.uint8), 100)


def with_queue(
    given: Settings, workers: list[Fake], talk: Callable[[Queue], Awaitable[None]], reopen: Fake | None = None
) -> None:
    async def run() -> None:
        queue = Queue("m", given, Metrics())

        def opened() -> Fake:
            if reopen is None:
                raise EdgeYoloError("there is no other")
            return reopen

        queue.replace(workers, opened)
        await talk(queue)
        for worker in workers:
            worker.go.set()
        await queue.stop()

    asyncio.run(asyncio.wait_for(run(), 30))
    assert all(worker.closed for worker in workers)


async def begun(queue: Queue, worker: Fake) -> asyncio.Future[Found]:
    """Put a job that the worker, which is held, has taken on return."""
    answer = queue.put(job())
    while queue._waiting:
        await asyncio.sleep(0.001)
    return answer


def test_a_busy_worker_gets_full_batches_and_each_job_its_own_answer(manifest: Manifest) -> None:
    worker = Fake(manifest, go=False)

    async def talk(queue: Queue) -> None:
        first = await begun(queue, worker)
        others = [queue.put(job(height)) for height in range(2, 13)]
        worker.go.set()
        found = await asyncio.gather(first, *others)
        assert [each.detections.image_size[0] for each in found] == list(range(1, 13))

    with_queue(settings(Path("x"), max_batch=4, max_delay=0.0), [worker], talk)
    assert worker.sizes == [1, 4, 4, 3]


def test_a_worker_gets_as_many_batches_at_once_as_it_runs_together(manifest: Manifest) -> None:
    worker = Fake(manifest, go=False)
    worker.together = 2

    async def talk(queue: Queue) -> None:
        answers = [await begun(queue, worker), await begun(queue, worker)]
        waiting = queue.put(job())
        await asyncio.sleep(0.05)
        assert len(queue._waiting) == 1
        worker.go.set()
        await asyncio.gather(*answers, waiting)

    with_queue(settings(Path("x"), max_batch=4, max_delay=0.0), [worker], talk)
    assert worker.sizes == [1, 1, 1]


@pytest.mark.parametrize(("delay", "sizes"), [(0.0, [1, 1]), (2.0, [2])])
def test_a_free_worker_waits_for_others_as_long_as_it_may(
    manifest: Manifest, delay: float, sizes: list[int]
) -> None:
    worker = Fake(manifest)

    async def talk(queue: Queue) -> None:
        first = queue.put(job())
        await asyncio.sleep(0.05)
        await asyncio.gather(first, queue.put(job()))

    with_queue(settings(Path("x"), max_batch=2, max_delay=delay), [worker], talk)
    assert worker.sizes == sizes


def test_a_full_queue_refuses_and_says_when_to_come_back(manifest: Manifest) -> None:
    async def talk(queue: Queue) -> None:
        with queue.admitted(2), queue.admitted(1):
            with pytest.raises(RequestRefusedError, match="full") as refused, queue.admitted(1):
                pass
            assert (refused.value.status, refused.value.cause) == (503, "queue_full")
            assert refused.value.retry_after is not None and refused.value.retry_after >= 1
        with queue.admitted(3):
            pass
        queue.check_count(3)
        with pytest.raises(RequestRefusedError, match="4 images") as refused:
            queue.check_count(4)
        assert refused.value.status == 413

    with_queue(settings(Path("x"), limits=Limits(queue=3)), [Fake(manifest)], talk)


def test_a_job_that_is_given_up_is_not_run(manifest: Manifest) -> None:
    worker = Fake(manifest, go=False)

    async def talk(queue: Queue) -> None:
        first = await begun(queue, worker)
        queue.put(job()).cancel()
        last = queue.put(job())
        worker.go.set()
        await asyncio.gather(first, last)

    with_queue(settings(Path("x"), max_delay=0.0), [worker], talk)
    assert worker.sizes == [1, 1]


def test_a_lost_worker_loses_its_batch_only_and_is_opened_again(manifest: Manifest) -> None:
    lost, healthy, again = Fake(manifest, go=False), Fake(manifest, go=False), Fake(manifest)
    lost.fails = WorkerLostError("gone")

    async def talk(queue: Queue) -> None:
        first = await begun(queue, lost)
        second = await begun(queue, healthy)
        waiting = [queue.put(job()) for _ in range(4)]
        lost.go.set()
        with pytest.raises(WorkerLostError):
            await first
        await asyncio.gather(*waiting)
        assert again.sizes and lost.closed and queue.open_lanes == 2
        healthy.go.set()
        await second

    with_queue(settings(Path("x"), max_batch=2, max_delay=0.0), [lost, healthy], talk, again)
    assert lost.sizes == [1] and again.closed


def test_an_error_of_the_runtime_is_the_batchs_answer_and_nothing_more(manifest: Manifest) -> None:
    worker = Fake(manifest)
    worker.fails = ValueError("no")

    async def talk(queue: Queue) -> None:
        with pytest.raises(ValueError, match="no"):
            await queue.put(job())
        await queue.put(job())

    with_queue(settings(Path("x"), max_delay=0.0), [worker], talk)


def test_new_workers_take_over_without_losing_a_job(manifest: Manifest) -> None:
    old, new = Fake(manifest, go=False), Fake(manifest)

    async def talk(queue: Queue) -> None:
        first = await begun(queue, old)
        waiting = [queue.put(job()) for _ in range(3)]
        ended = queue.replace([new], lambda: new)
        await asyncio.gather(*waiting)
        assert sum(new.sizes) == 3 and not old.closed and not first.done()
        old.go.set()
        await first
        await asyncio.gather(*ended)
        assert old.closed

    with_queue(settings(Path("x"), max_delay=0.0), [old], talk)
    assert old.sizes == [1] and new.closed


def test_stopping_answers_what_was_accepted_and_refuses_the_rest(manifest: Manifest) -> None:
    worker = Fake(manifest, go=False)

    async def talk(queue: Queue) -> None:
        with queue.admitted(1):
            stopping = asyncio.create_task(queue.stop())
            await asyncio.sleep(0)
            with pytest.raises(RequestRefusedError, match="stopping"), queue.admitted(1):
                pass
            worker.go.set()
            await queue.put(job())  # accepted before, sent to its end after
        await stopping

    with_queue(settings(Path("x"), max_delay=0.0), [worker], talk)
    assert worker.sizes == [1]
