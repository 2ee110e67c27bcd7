"""A server as a person starts it: a process, and its address on the loopback interface."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread


@dataclass
class Server:
    """A running server; `said` are its lines on standard error."""

    process: subprocess.Popen[str]
    address: str
    said: list[str] = field(default_factory=list)


@contextmanager
def running(*arguments: object) -> Iterator[Server]:
    """`edgeyolo serve` on a free port, killed at the end if it has not ended by itself."""
    command = [sys.executable, "-m", "edgeyolo", "serve", "--port", "0", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = [process.stderr.readline()]
            found = re.search(r"on (http://\S+)$", said[0])
            assert found, said[0] + process.stderr.read()
            stderr = process.stderr
            reader = Thread(target=lambda: said.extend(stderr), daemon=True)
            reader.start()
            yield Server(process, found[1], said)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(20)
            reader.join(20)
