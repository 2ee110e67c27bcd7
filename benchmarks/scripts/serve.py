"""Load on `edgeyolo serve`: at its capacity, and twice as much.

Its rate is given beside that of a bare Detector.

The client runs on the same machine and takes its part of the processor. Every phase lasts --seconds.

python benchmarks/scripts/serve.py [MODEL] [--seconds 10] [--workers 0] [--connections 16]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np

from edgeyolo import Detector
from edgeyolo.datasets.scenes import make_scene

PICTURES = [cv2.imencode(".jpg", make_scene(seed).image)[1].tobytes() for seed in range(16)]


@dataclass
class Seen:
    """Answers of a phase."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    milliseconds: list[float] = field(default_factory=list)

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
            seen.milliseconds.append((time.perf_counter() - begin) * 1e3)
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

    async def resident(self) -> float:
        """MB of the server's own process."""
        _, text = await self.ask(b"GET", b"/metrics")
        found = re.search(rb"(?m)^process_resident_memory_bytes (\S+)", text)
        return float(found[1]) / 1e6 if found else float("nan")


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


def bare_rate(detector: Detector, seconds: float) -> float:
    """Images a second of `Detector.submit` with the same files, one process."""
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        detector.submit(PICTURES[count % len(PICTURES)]).result()
        count += 1
    return count / (time.perf_counter() - begin)


@contextmanager
def running(model: str, workers: int) -> Iterator[int]:
    """A server with its queue of 64; yields its port."""
    command = [sys.executable, "-m", "edgeyolo", "serve", model, "--port", "0", "--workers", str(workers)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r":(\d+)$", line.strip())
            assert found is not None, line
            yield int(found[1])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


async def measure(port: int, wanted: list[object], connections: int, seconds: float) -> Seen:
    """Print the phases with a server; return the one at its capacity."""
    client = Client(port, wanted)
    await closed_loop(client, connections, min(seconds, 3.0))  # to be warm
    before = await client.resident()
    full = await closed_loop(client, connections, seconds)
    print(f"{connections} clients: {full}")
    print(f"twice as many as it can: {await open_loop(client, 2 * full.rate, seconds)}")
    print(f"memory: {before:.1f} MB after warm-up, {await client.resident():.1f} MB at the end")
    return full


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="builtin")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--connections", type=int, default=16)
    given = parser.parse_args()
    with Detector(given.model) as detector:
        wanted: list[object] = [detector(picture).to_json() for picture in PICTURES]
        bare = bare_rate(detector, given.seconds)
    print(f"Detector.submit: {bare:.1f} images/s")
    with running(given.model, given.workers) as port:
        full = asyncio.run(measure(port, wanted, given.connections, given.seconds))
    print(f"server / Detector: {full.rate / bare:.2f}")


if __name__ == "__main__":
    main()
