"""Ctrl-C that cannot get lost.

Python turns Ctrl-C into a KeyboardInterrupt wherever it happens to be. Some libraries swallow it (torch does while it
loads parts of itself) or turn it into an error of their own, and the command would run on. So it is also noted here,
and asked for between steps.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_received = threading.Event()


def install() -> None:
    """Note every Ctrl-C from now on; only the main thread may set signal handlers."""
    _received.clear()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _note)


@contextmanager
def on_sigterm_too() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that what it writes is finished."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def held() -> Iterator[None]:
    """Let an interrupt wait for the end of the block.

    What the block writes is then whole. A second interrupt does not wait.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        if pending:
            _note(number, frame)
        pending.append(number)

    before = {number: signal.signal(number, hold) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if pending:
        signal.raise_signal(pending[0])


def received() -> bool:
    """Return True if Ctrl-C was pressed since `install`."""
    return _received.is_set()


def check() -> None:
    """Raise KeyboardInterrupt if one was swallowed."""
    if received():
        raise KeyboardInterrupt


def _note(number: int, frame: FrameType | None) -> None:
    _received.set()
    raise KeyboardInterrupt
