"""The engine of local processes.

Each loads the model once and fills shards, one after another. A process that is killed loses the shard it was at;
another takes its place and does that shard again. An image at which three processes were killed becomes a row with an
error.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from edgeyolo.errors import EdgeYoloError
from edgeyolo.predict.fill import Load, fill_shard
from edgeyolo.predict.shards import Shard

Tell = Callable[[int], None]
"""Called with the number of images that are done, of those the shards hold."""

_LOADING = -1  # the position of a process that has not begun an image
_DEATHS = 3  # at one image, and the image is taken to be the cause
_HOPELESS = 3  # deaths in a row before any image, and the model is taken to be the cause


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    shard: Shard | None = None
    position: int = _LOADING


@dataclass
class _Crew:
    """The processes, and the shards that are waiting for one."""

    load: Load
    waiting: deque[Shard]
    finished: int = 0
    deaths: Counter[tuple[int, int]] = field(default_factory=Counter)
    workers: list[_Worker] = field(default_factory=list)
    early: int = 0

    def hire(self) -> None:
        """Start a process on the first shard that waits."""
        context = multiprocessing.get_context("spawn")
        pipe, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, self.load), daemon=True)
        process.start()
        theirs.close()  # so that the pipe ends when the process does
        worker = _Worker(process, pipe)
        self.workers.append(worker)
        self.give(worker)

    def give(self, worker: _Worker) -> None:
        """Hand the next shard to a process, or let it go."""
        if not self.waiting:
            self.dismiss(worker)
            return
        worker.shard = self.waiting.popleft()
        fatal = [
            position
            for (number, position), count in self.deaths.items()
            if number == worker.shard.number and count >= _DEATHS
        ]
        try:
            worker.pipe.send((worker.shard, fatal))
        except OSError:
            self.bury(worker)

    def dismiss(self, worker: _Worker) -> None:
        """Let a process end."""
        self.workers.remove(worker)
        worker.pipe.close()
        worker.process.join()

    def bury(self, worker: _Worker) -> None:
        """Put the shard of a process that died back, and start another."""
        self.workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        self.early = self.early + 1 if worker.position == _LOADING else 0
        if self.early >= _HOPELESS:
            raise EdgeYoloError(
                f"{_HOPELESS} processes in a row ended before their first image ({_cause(worker.process)})",
                hint="Is there memory for the model in each process? Try --workers 1.",
            )
        if worker.shard is not None:
            if worker.position != _LOADING:
                self.deaths[worker.shard.number, worker.position] += 1
            self.waiting.appendleft(worker.shard)
        self.hire()

    def hear(self, worker: _Worker) -> None:
        """Take a message of a process: a position, the end of a shard, or a failure."""
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            self.bury(worker)
            return
        if kind == "position":
            worker.position, self.early = value, 0
        elif kind == "failed":
            raise value
        elif worker.shard is not None:
            self.finished += len(worker.shard.images)
            worker.shard, worker.position = None, 0
            self.give(worker)

    @property
    def count(self) -> int:
        """Images that are done, those of unfinished shards included."""
        return self.finished + sum(max(worker.position, 0) for worker in self.workers)


def fill_locally(load: Load, shards: Sequence[Shard], workers: int, tell: Tell) -> None:
    """Fill shards by processes of this machine.

    Raises what a process could not do, such as RuntimeMissingError; EdgeYoloError where processes keep dying before
    their first image.
    """
    crew = _Crew(load, deque(shards))
    try:
        for _ in range(min(workers, len(shards))):
            crew.hire()
        while crew.workers:
            by_pipe = {worker.pipe: worker for worker in crew.workers}
            for pipe in wait(list(by_pipe), timeout=1.0):
                crew.hear(by_pipe[pipe])  # type: ignore[index]
            tell(crew.count)
    finally:
        for worker in crew.workers:
            worker.process.kill()  # a shard is written whole or not at all
            worker.process.join()


def work(pipe: Connection, load: Load) -> None:
    """Fill the shards that come through the pipe, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends its processes
    try:
        with load.detector() as detector:
            while True:
                shard, fatal = pipe.recv()
                fill_shard(
                    shard,
                    detector,
                    load.sha256,
                    fatal=fatal,
                    begin=lambda position: pipe.send(("position", position)),
                )
                pipe.send(("done", None))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the driver has no more to do, or is gone
    except EdgeYoloError as error:
        pipe.send(("failed", error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the driver's user must see it
        pipe.send(("failed", EdgeYoloError(f"{type(error).__name__}: {error}")))


def _cause(process: Any) -> str:
    code = process.exitcode
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
