"""A small client of `edgeyolo serve`, and two ways to load it.

It runs on the server's machine, so it is as cheap as can be.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field

import cv2
import numpy as np

from edgeyolo.datasets.scenes import make_scene

PICTURES = [cv2.imencode(".jpg", make_scene(seed).image)[1].tobytes() for seed in range(16)]


@dataclass
class Seen:
    """Answers of a phase."""

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
    """Requests over kept connections, as cheap as can be.

    The server needs the processor.
    """

    def __init__(self, port: int, wanted: list[object]) -> None:
        self._port, self._wanted = port, wanted
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def detect(self, number: int, seen: Seen) -> None:
        """Send one of the pictures and note the answer."""
        picture = PICTURES[number % len(PICTURES)]
        begin = time.perf_counter()
        status, body = await self.ask(b"POST", b"/detect", picture)
        seen.statuses[status] += 1
        if status == 200:
            seen.finished.append(time.perf_counter())
            seen.milliseconds.append((seen.finished[-1] - begin) * 1e3)
            seen.wrong += json.loads(body)["detections"] != self._wanted[number % len(PICTURES)]

    async def ask(self, method: bytes, path: bytes, body: bytes = b"") -> tuple[int, bytes]:
        """Answer to a request: its status and its body."""
        pair = self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = pair
        writer.write(b"%s %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (method, path, len(body)))
        writer.write(body)
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"(?i)content-length: (\d+)", head)
        assert found is not None, head
        answer = await reader.readexactly(int(found[1]))
        self._free.append(pair)
        return int(head.split()[1]), answer

    async def workers(self) -> int:
        """Workers that take images, by the server's metrics."""
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
            await client.detect(number, seen)
            number += connections

    await asyncio.gather(*(loop(first) for first in range(connections)))
    seen.seconds = time.perf_counter() - begin
    return seen


async def open_loop(client: Client, rate: float, seconds: float) -> Seen:
    """Answers to pictures that are sent at a rate, whatever becomes of those before."""
    seen, begin = Seen(), time.perf_counter()
    asked = []
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(begin + number / rate - time.perf_counter(), 0))
        asked.append(asyncio.create_task(client.detect(number, seen)))
    await asyncio.gather(*asked)
    seen.seconds = time.perf_counter() - begin
    return seen
