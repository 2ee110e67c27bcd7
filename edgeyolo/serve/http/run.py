"""Run a service until it is told to stop."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from edgeyolo.errors import EdgeYoloError
from edgeyolo.serve.http.app import build_app
from edgeyolo.serve.service import Service
from edgeyolo.serve.settings import Settings


def listen(host: str, port: int) -> socket.socket:
    """Open a socket on an address; port 0 takes a free one.

    Raises EdgeYoloError where that cannot be.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError, UnicodeError) as error:
        raise EdgeYoloError(
            f"cannot listen on {host}, port {port}: {error}", hint="Choose another --host or --port."
        ) from error


def serve(settings: Settings, listening: socket.socket, started: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that were taken are answered first.

    Args:
        settings: what to serve.
        listening: socket that it listens on.
        started: called when the models are open.

    Raises:
        EdgeYoloError: a model cannot be opened.
        KeyboardInterrupt: it was stopped by Ctrl-C.
    """
    service = Service(settings)
    started()
    config = uvicorn.Config(
        build_app(service),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_keep_alive=75,  # longer than proxies keep an idle connection, so that they never send into a closed one
        timeout_graceful_shutdown=int(settings.limits.timeout) + 5,
    )
    with _quiet_termination():
        _Server(config, service).run(sockets=[listening])


class _Server(uvicorn.Server):
    """A server of uvicorn's that ends while a camera is watched.

    uvicorn waits for open requests, and those that watch would never end by themselves.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal, and send home who watches."""
        super().handle_exit(sig, frame)
        self._service.dismiss()


@contextlib.contextmanager
def _quiet_termination() -> Iterator[None]:
    """Let SIGTERM be an end like any other.

    uvicorn stops at it, then raises it once more for the handler of before.
    """

    def note(number: int, frame: FrameType | None) -> None:
        return None

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
