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
        assert process.stderr is not None
        said: list[str] = []
        lines = iter(process.stderr)
        reader = Thread(target=lambda: said.extend(lines), daemon=True)
        try:
            address = _address(lines, said)
            reader.start()
            yield Server(process, address, said)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(20)
            if reader.ident:
                reader.join(20)


def _address(lines: Iterator[str], said: list[str]) -> str:
    """The address that a starting server names; a library may have said a word before."""
    for line in lines:
        said.append(line)
        if found := re.search(r"on (http://\S+)$", line):
            return found[1]
    raise AssertionError("".join(said))
