"""A preforking HTTP server: `python examples/preforking_server.py MODEL --port 8000 --workers 2`.

POST an image, get JSON. The parent opens the port and forks; each worker opens a Detector of its own after the fork and
accepts from the shared port, as under gunicorn (there: make the Detector in `post_worker_init`).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

from edgeyolo import Detector, EdgeYoloError

LARGEST = 32 << 20


def handler_of(detector: Detector) -> type[BaseHTTPRequestHandler]:
    """Make the request handler of a worker."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            try:
                if not 0 < length <= LARGEST:
                    raise EdgeYoloError(f"expected an image of at most {LARGEST} bytes, got {length}")
                self._answer(
                    200, {"worker": os.getpid(), "detections": detector(self.rfile.read(length)).to_json()}
                )
            except EdgeYoloError as error:
                self._answer(400, {"error": error.message})

        def _answer(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def work(model: str, listener: socket.socket, threads: int) -> None:
    """Serve from the shared port until SIGTERM."""
    with Detector(model, threads=threads) as detector:
        server = HTTPServer(listener.getsockname()[:2], handler_of(detector), bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        server.serve_forever()


def main(model: str, port: int, workers: int) -> None:
    """Fork the workers and wait for SIGTERM or Ctrl-C, which end them."""
    listener = socket.create_server(("127.0.0.1", port), backlog=64)
    threads = max((os.cpu_count() or 1) // workers, 1)
    children = []
    for _ in range(workers):
        child = os.fork()
        if child == 0:
            work(model, listener, threads)
            os._exit(0)
        children.append(child)
    print(f"serving on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for child in children:
            os.waitpid(child, 0)
    except KeyboardInterrupt:
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    main(options.model, options.port, options.workers)
