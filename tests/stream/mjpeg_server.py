"""A camera on the loopback address: Motion JPEG over HTTP, with every fault that a network has."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .films import jpeg

Script = Callable[[int, Callable[[bytes], None], threading.Event], None]
"""What the camera does on its n-th connection, n from 0: it is given `send` for a JPEG, and an event that says stop."""


def steady(frames: int, rate: float = 50.0, size: tuple[int, int] = (64, 96), first: int = 0) -> Script:
    """Sends frames at a rate, then ends."""

    def script(connection: int, send: Callable[[bytes], None], stop: threading.Event) -> None:
        for number in range(first, first + frames):
            if stop.is_set():
                return
            send(jpeg(number % 256, size))
            time.sleep(1 / rate)

    return script


class MjpegServer:
    """`url` is the address; `connections` counts how often it was asked."""

    def __init__(self, script: Script, login: str | None = None) -> None:
        self.stop = threading.Event()
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if login and self.headers.get("Authorization") != _basic(login):
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.end_headers()
                    return
                number, outer.connections = outer.connections, outer.connections + 1
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with suppress(OSError):  # the receiver has gone
                    script(number, self._send_part, outer.stop)

            def _send_part(self, data: bytes) -> None:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
                self.wfile.flush()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/camera"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.stop.set()
        self._server.shutdown()
        self._server.server_close()


def _basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


@contextmanager
def served(script: Script, login: str | None = None) -> Iterator[MjpegServer]:
    """A running camera."""
    server = MjpegServer(script, login)
    try:
        yield server
    finally:
        server.close()
