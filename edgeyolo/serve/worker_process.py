"""A worker in a process of its own.

A runtime that fails there takes nothing else with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from edgeyolo.artifact.manifest import Manifest
from edgeyolo.errors import EdgeYoloError, RequestRefusedError
from edgeyolo.serve.settings import Model
from edgeyolo.serve.worker import Answer, Job, LocalWorker

_CLOSING_SECONDS = 5.0


class WorkerLostError(RequestRefusedError):
    """A worker whose process ended, or did not answer in time.

    Its batch is lost; the worker must be opened again.
    """

    def __init__(self, message: str) -> None:
        super().__init__(
            message, status=503, cause="worker_lost", retry_after=1, hint="Send the request again."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message,)


class ProcessWorker:
    """A worker in a process of its own."""

    together = 1

    def __init__(self, model: Model, timeout: float) -> None:
        """Start the process and wait until its session is open.

        Args:
            model: what it runs.
            timeout: seconds after which a batch is given up and the process ended.

        Raises:
            EdgeYoloError: the model cannot be opened, as in this process.
        """
        self._timeout = timeout
        context = multiprocessing.get_context("spawn")  # a fork would copy the locks of running threads
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, model), daemon=True)
        self._process.start()
        theirs.close()
        try:
            opened = self._receive(None)
        except BaseException:  # Ctrl-C, above all: the process would be waited for at exit
            self._process.kill()
            raise
        if isinstance(opened, Exception):
            self.close()
            raise opened
        self.manifest: Manifest = opened

    @property
    def pid(self) -> int | None:
        """Number of the process."""
        return self._process.pid

    def run(self, jobs: Sequence[Job]) -> Answer:
        """Answer a batch.

        Raises WorkerLostError where the process ended or overran its time.
        """
        try:
            self._pipe.send(list(jobs))
        except OSError as error:
            raise self._lost() from error
        given = self._receive(self._timeout)
        if isinstance(given, Exception):
            raise given
        return given  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process."""
        self._pipe.close()  # it reads the end of the pipe and goes
        self._process.join(_CLOSING_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self, timeout: float | None) -> Any:
        try:
            if not self._pipe.poll(timeout):
                self._process.kill()
                raise WorkerLostError(f"a worker did not answer within {timeout:g} s and was ended")
            return self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error

    def _lost(self) -> WorkerLostError:
        self._process.join(_CLOSING_SECONDS)
        return WorkerLostError(
            f"a worker ended (exit code {self._process.exitcode}) while it had the request"
        )


def _work(pipe: Connection, model: Model) -> None:
    """Serve a pipe until its other end is closed.

    The signals of a terminal or a service manager go to all processes; this one ends when the server has no more
    for it.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        worker = LocalWorker(model)
    except Exception as error:  # noqa: BLE001 - the server says it
        pipe.send(_portable(error))
        return
    pipe.send(worker.manifest)
    while True:
        try:
            jobs = pipe.recv()
        except EOFError:
            break
        try:
            result: Answer | Exception = worker.run(jobs)
        except Exception as error:  # noqa: BLE001 - the server says it
            result = _portable(error)
        try:
            pipe.send(result)
        except OSError:  # the server has gone
            break
    worker.close()


def _portable(error: Exception) -> Exception:
    """Make an error that can be sent: those of runtimes often cannot be pickled."""
    return error if isinstance(error, EdgeYoloError) else EdgeYoloError(f"{type(error).__name__}: {error}")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
