"""Watching a build, and stopping it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

# What is being done, how many steps of it are done, and how many there are (None where nobody knows).
Progress = Callable[[str, int, int | None], None]


def attach_monitor(trt: Any, config: Any, progress: Progress | None, stopped: Callable[[], bool]) -> None:
    """Let TensorRT report to `progress` and ask `stopped`.

    Versions before 10 do neither, and one line says so.
    """
    if not can_be_stopped(trt):
        if progress:
            progress("building (this TensorRT reports no progress)", 0, None)
        return

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, step + 1)
            return not stopped()

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

        def _tell(self, phase: str, done: int) -> None:
            if progress:
                progress(phase, done, self.steps.get(phase))

    config.progress_monitor = Monitor()


def can_be_stopped(trt: Any) -> bool:
    """Return True if this TensorRT has progress monitors (10 and newer).

    They also stop a build.
    """
    return hasattr(trt, "IProgressMonitor")


def run_interruptibly(work: Callable[[], None], cancel: Callable[[], None], *, patience_s: float) -> None:
    """Do `work` in a thread, so that Ctrl-C is heard meanwhile.

    TensorRT is busy for minutes.

    An interrupt calls `cancel` and waits `patience_s` for the work to stop. A TensorRT that cannot be stopped goes on
    in the thread, which ends with the process.
    """
    failures: list[BaseException] = []

    def body() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread below
            failures.append(error)

    thread = Thread(target=body, name="edgeyolo-tensorrt-build", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
    except BaseException:
        cancel()
        thread.join(patience_s)
        raise
    if failures:
        raise failures[0]
