"""A small HTTP client for pictures, and two ways to load a server with it.

It may run on the server's machine, so it is as cheap as can be.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

from edgeyolo.errors import UsageError

NO_ANSWER = 0
"""Stands for a status where the connection was lost or the time was up."""


@dataclass(frozen=True)
class Address:
    """Address of a server: host, port, path with its query, and TLS or not."""

    host: str
    port: int
    path: str = "/detect"
    secure: bool = False

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read `http://host:port[/path]`; without a path it is /detect.

        Raises UsageError for what is no address of HTTP.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url!r}: expected an address of HTTP", hint="Such as http://127.0.0.1:8000.")
        secure = parts.scheme == "https"
        path = parts.path if parts.path not in ("", "/") else "/detect"
        return cls(
            parts.hostname,
            port or (443 if secure else 80),
            path + (f"?{parts.query}" if parts.query else ""),
            secure,
        )


@dataclass
class Seen:
    """Answers of a phase.

    `milliseconds` are of accepted requests in the order of their answers, `finished` the moments of those.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    milliseconds: list[float] = field(default_factory=list)
    finished: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Images a second that were answered."""
        return self.statuses[200] / self.seconds

    def __str__(self) -> str:
        p50, p99 = np.percentile(self.milliseconds or [np.nan], (50, 99))
        counts = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        return f"{self.rate:.1f} images/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms; {counts}; wrong: {self.wrong}"


class Client:
    """Requests over kept connections.

    `wanted` are the detections of each picture as JSON values, to which answers are compared.
    """

    def __init__(
        self,
        address: Address,
        pictures: Sequence[bytes],
        wanted: Sequence[object],
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> None:
        self._address, self._pictures, self._wanted = address, pictures, wanted
        self._timeout = timeout
        self._headers = "".join(
            f"{name}: {value}\r\n" for name, value in {"Host": address.host, **(headers or {})}.items()
        ).encode("ascii")
        self._tls = ssl.create_default_context() if address.secure else None
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def detect(self, number: int, seen: Seen, due: float | None = None) -> None:
        """Send one of the pictures and note the answer.

        Its time counts from `due` on, where it was to be sent at a moment (of `time.perf_counter`).
        """
        begin = time.perf_counter() if due is None else due
        status, found = await self.detections(number)
        seen.statuses[status] += 1
        if status == 200:
            seen.finished.append(time.perf_counter())
            seen.milliseconds.append((seen.finished[-1] - begin) * 1e3)
            seen.wrong += found != self._wanted[number % len(self._wanted)]

    async def detections(self, number: int) -> tuple[int, object]:
        """Status and detections of one of the pictures; None where the answer has none."""
        path = self._address.path.encode("ascii")
        try:
            asked = self.ask(b"POST", path, self._pictures[number % len(self._pictures)])
            status, body = await asyncio.wait_for(asked, self._timeout)
        except (OSError, EOFError, asyncio.TimeoutError):  # in Python 3.10 not yet the built-in one
            return NO_ANSWER, None
        if status != 200:
            return status, None
        try:
            answer = json.loads(body)
        except ValueError:
            return status, None
        return status, answer.get("detections") if isinstance(answer, dict) else None

    async def ask(self, method: bytes, path: bytes, body: bytes = b"") -> tuple[int, bytes]:
        """Answer to a request: its status and its body."""
        pair, kept = await self._connection(), False
        try:
            reader, writer = pair
            length = b"Content-Length: %d\r\n\r\n" % len(body)
            writer.write(b"%s %s HTTP/1.1\r\n%s%s" % (method, path, self._headers, length))
            writer.write(body)
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"(?i)content-length: (\d+)", head)
            if found is None:
                raise ConnectionError("an answer without its length")
            answer = await reader.readexactly(int(found[1]))
            kept = re.search(rb"(?i)connection: close", head) is None
            return int(head.split()[1]), answer
        finally:
            if kept:
                self._free.append(pair)
            else:  # what is left of it belongs to no other request
                pair[1].close()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A kept connection, unless the server has closed it as idle; else a new one."""
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._address.host, self._address.port, ssl=self._tls)

    async def workers(self) -> int:
        """Workers that take images, by the metrics of `edgeyolo serve`."""
        _, text = await self.ask(b"GET", b"/metrics")
        found = re.search(rb"(?m)^edgeyolo_workers\{.*\} (\S+)", text)
        assert found is not None
        return int(float(found[1]))


async def closed_loop(client: Client, connections: int, seconds: float) -> Seen:
    """Answers to clients that each send a picture when the last one is answered."""
    seen, begin = Seen(), time.perf_counter()

    async def loop(first: int) -> None:
        number = first
        while time.perf_counter() - begin < seconds:
            lost = seen.statuses[NO_ANSWER]
            await client.detect(number, seen)
            number += connections
            if seen.statuses[NO_ANSWER] > lost:
                await asyncio.sleep(0.05)  # a server that is gone is not asked a thousand times a second

    await asyncio.gather(*(loop(first) for first in range(connections)))
    seen.seconds = time.perf_counter() - begin
    return seen


async def open_loop(client: Client, rate: float, seconds: float) -> Seen:
    """Answers to pictures that are sent at a rate, whatever becomes of those before.

    Times count from the moment that each was due.
    """
    seen, begin = Seen(), time.perf_counter()
    asked = []
    for number in range(round(rate * seconds)):
        due = begin + number / rate
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        asked.append(asyncio.create_task(client.detect(number, seen, due)))
    await asyncio.gather(*asked)
    seen.seconds = time.perf_counter() - begin
    return seen
