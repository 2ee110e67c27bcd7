"""Worker processes, one for each artifact.

Runtimes then do not disturb each other's threads and memory; one works at a time, the others wait at their
end of a pipe.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from edgeyolo.errors import EdgeYoloError
from edgeyolo_bench.measure.subject import Job, Opened, Progress, Subject, Turn
from edgeyolo_bench.values.measurement import AccuracyFacts, SteadyState

_GOODBYE = 5.0  # seconds that a process has to end


class Worker:
    """The measuring side's end. Every method waits for the process's answer.

    Raises what the process raised, EdgeYoloError where it ended without an answer.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, job), daemon=True)
        self._process.start()
        other.close()

    def open(self) -> Opened:
        """Load the artifact."""
        opened: Opened = self._ask("describe")
        return opened

    def warm_up(self) -> SteadyState:
        """See Subject.warm_up."""
        steady: SteadyState = self._ask("warm_up")
        return steady

    def turn(self, seconds: float, count: int, *, refresh: bool) -> Turn:
        """See Subject.turn."""
        turn: Turn = self._ask("turn", seconds, count, refresh=refresh)
        return turn

    def accuracy(self, data: str, split: str | None, progress: Progress) -> AccuracyFacts:
        """See Subject.accuracy; `progress` is called here."""
        found: AccuracyFacts = self._ask("accuracy", data, split, progress=progress)
        return found

    def peak_memory(self) -> int | None:
        """See Subject.peak_memory."""
        peak: int | None = self._ask("peak_memory")
        return peak

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._pipe.close()  # one that waits for a question ends by itself
        self._process.join(_GOODBYE if self._idle else 0.0)
        for end in (self._process.terminate, self._process.kill):
            if self._process.is_alive():
                end()
                self._process.join(_GOODBYE)

    _idle = True

    def _ask(self, method: str, *arguments: Any, progress: Progress | None = None, **named: Any) -> Any:
        self._idle = False
        try:
            self._pipe.send((method, arguments, named, progress is not None))
            while True:
                kind, value = self._pipe.recv()
                if kind == "progress" and progress is not None:
                    progress(*value)
                    continue
                self._idle = True
                if kind == "error":
                    raise value
                return value
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            self._process.join(_GOODBYE)
            raise EdgeYoloError(
                f"{self.job.label}: the process that ran it ended ({_words(self._process.exitcode)})",
                hint="Killed processes are often short of memory: fewer threads, a smaller batch or size need less.",
            ) from error


def _words(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def _serve(pipe: Connection, job: Job) -> None:
    """The process: load, then answer questions until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the measuring side decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    subject: Subject | None = None
    try:
        with suppress(
            EOFError, BrokenPipeError, ConnectionResetError
        ):  # the other end is closed: nothing more to do
            while True:
                method, arguments, named, tells = pipe.recv()
                if tells:
                    named["progress"] = _teller(pipe)
                try:
                    subject = subject or Subject(job)
                    answer = "answer", getattr(subject, method)(*arguments, **named)
                except EdgeYoloError as error:
                    answer = "error", error
                except Exception as error:  # noqa: BLE001 - runtimes raise anything; the other side reports it
                    answer = "error", EdgeYoloError(f"{job.label}: {type(error).__name__}: {error}")
                pipe.send(answer)
    finally:
        if subject is not None:
            subject.close()


def _end_with_parent() -> None:
    """End this process when the measuring side is gone.

    However that ended: nobody wants the answer.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _teller(pipe: Connection) -> Callable[[int, int | None], None]:
    def tell(done: int, total: int | None) -> None:
        pipe.send(("progress", (done, total)))

    return tell
