"""Load on `edgeyolo serve`: at capacity, at twice that, with a worker killed.

    python benchmarks/scripts/serve_load.py [MODEL] [--seconds 300] [--workers 0] [--connections 16] [--write]

The client runs on the same machine and takes its part of the processor. The rate at capacity stands beside that of
`Detector.submit` in one process, in turns. Checked are: no wrong answer; no status but 200 and 503; memory of all the
server's processes within 5 MB of what it was after warm-up; the 99th percentile of accepted requests within the seconds
that as many answers take at the slowest as the queue holds, and a batch, which may overtake another; a killed worker
loses the requests of its batch only. Ends with 1 where a check fails.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from result_files import write

from edgeyolo import Detector
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.support.machine import cores, processor_name
from edgeyolo_bench.live.client import Address, Client, closed_loop, open_loop

QUEUE, BATCH = 64, 8  # what `edgeyolo serve` does without being told
PICTURES = [cv2.imencode(".jpg", make_scene(seed).image)[1].tobytes() for seed in range(16)]
LEAST_RATE, MOST_MB = 0.9, 5.0
TURNS = 3


def client_of(port: int, wanted: list[object]) -> Client:
    """A client of the server on this machine."""
    return Client(Address("127.0.0.1", port), PICTURES, wanted)


def bare_rate(detector: Detector, seconds: float) -> float:
    """Images a second of `Detector.submit` with the same files, two in flight."""
    begin, count = time.perf_counter(), 0
    flying = deque(detector.submit(PICTURES[0]) for _ in range(2))
    while time.perf_counter() - begin < seconds:
        flying.popleft().result()
        count += 1
        flying.append(detector.submit(PICTURES[count % len(PICTURES)]))
    return count / (time.perf_counter() - begin)


@contextmanager
def running(model: str, workers: int) -> Iterator[tuple[int, int]]:
    """A server as it comes; yields its process and its port."""
    command = [sys.executable, "-m", "edgeyolo", "serve", model, "--port", "0", "--workers", str(workers)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r":(\d+)$", line.strip())
            assert found is not None, line
            yield process.pid, int(found[1])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def family(pid: int) -> list[int]:
    """A process and those it started, by /proc."""
    told = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(each for child in told for each in family(int(child)))]


def slowest(finished: Sequence[float], count: int) -> float | None:
    """Longest time in milliseconds of any `count` answers in a row.

    None where there were not as many. Who is accepted as the last of a full queue waits for that many answers.
    """
    windows = [last - first for first, last in zip(finished, finished[count:], strict=False)]
    return max(windows) * 1e3 if windows else None


def processor_seconds(pid: int) -> float:
    """Seconds of processor time of a process and those it started."""
    fields = [
        Path(f"/proc/{each}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        for each in family(pid)
    ]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MB of a process and those it started.

    Files that are mapped do not count.
    """
    total = 0
    for each in family(pid):
        status = Path(f"/proc/{each}/status").read_text(encoding="ascii")
        found = re.search(r"RssAnon:\s+(\d+) kB", status)
        total += int(found[1]) if found else 0
    return total / 1024


async def watched(pid: int, seconds: float) -> list[float]:
    """MB every half second."""
    found = []
    for _ in range(round(2 * seconds)):
        await asyncio.sleep(0.5)
        found.append(resident(pid))
    return found


async def overload(client: Client, pid: int, capacity: float, seconds: float) -> dict[str, Any]:
    """Send twice what the server can, for `seconds` after a warm-up of a fifth of it."""
    await open_loop(client, 2 * capacity, seconds / 5)
    memory, seen = await asyncio.gather(watched(pid, seconds), open_loop(client, 2 * capacity, seconds))
    p50, p99 = np.percentile(seen.milliseconds or [np.nan], (50, 99))
    first = statistics.median(memory[:5])
    return {
        "seconds": round(seen.seconds, 1),
        "offered a second": round(2 * capacity, 1),
        "accepted a second": round(seen.rate, 1),
        "statuses": {str(status): count for status, count in sorted(seen.statuses.items())},
        "wrong": seen.wrong,
        "p50 ms": round(float(p50), 1),
        "p99 ms": round(float(p99), 1),
        "queue x service ms": round(QUEUE / seen.rate * 1e3, 1) if seen.rate else None,
        "queue and a batch x service ms at the slowest": round(slow, 1)
        if (slow := slowest(seen.finished, QUEUE + BATCH))
        else None,
        "MB after warm-up": round(first, 1),
        "MB more at most": round(max(memory) - first, 1),
    }


async def killing(client: Client, pid: int, workers: int, seconds: float) -> dict[str, Any]:
    """Kill one worker under load; the others go on, and it is opened again."""
    task = asyncio.create_task(closed_loop(client, 2 * BATCH, seconds))
    await asyncio.sleep(seconds / 3)
    os.kill(max(family(pid)), signal.SIGKILL)  # the resource tracker is older than the workers
    seen = await task
    end = time.monotonic() + 30
    while await client.workers() < workers and time.monotonic() < end:
        await asyncio.sleep(0.2)
    after = await closed_loop(client, 2 * BATCH, seconds / 3)
    return {
        "statuses": {str(status): count for status, count in sorted(seen.statuses.items())},
        "wrong": seen.wrong + after.wrong,
        "workers again": await client.workers(),
        "statuses afterwards": {str(status): count for status, count in sorted(after.statuses.items())},
    }


def by_wrk(port: int, seconds: float) -> float | None:
    """Requests a second by wrk with one picture, where it is installed."""
    if (program := shutil.which("wrk")) is None:
        return None
    with tempfile.TemporaryDirectory(prefix="edgeyolo-load-") as place:
        (Path(place) / "picture.jpg").write_bytes(PICTURES[0])
        script = Path(place) / "post.lua"
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = io.open("{place}/picture.jpg", "rb"):read("*a")\n',
            encoding="ascii",
        )
        words = [
            program,
            "-t1",
            "-c16",
            f"-d{round(seconds)}s",
            "-s",
            str(script),
            f"http://127.0.0.1:{port}/detect",
        ]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+(\S+)", said)
    return float(found[1]) if found and "Non-2xx" not in said else None


def at_capacity(
    detector: Detector, server: tuple[int, int], wanted: list[object], given: argparse.Namespace
) -> dict[str, Any]:
    """The server and `Detector.submit` in turns; rates and ratios are medians.

    Processor time is of an image, of the server's processes beside this one.
    """
    pid, port = server
    each = min(max(given.seconds / 15, 2.0), 10.0)
    asyncio.run(closed_loop(client_of(port, wanted), given.connections, each))  # to be warm
    bare_rate(detector, 1.0)
    bare, served, ratios, costs = [], [], [], []
    for _ in range(TURNS):
        used = time.process_time()
        bare.append(bare_rate(detector, each))
        alone = (time.process_time() - used) / (bare[-1] * each)
        used = processor_seconds(pid)
        seen = asyncio.run(closed_loop(client_of(port, wanted), given.connections, each))
        assert set(seen.statuses) == {200} and not seen.wrong, seen
        served.append(seen.rate)
        ratios.append(served[-1] / bare[-1])
        costs.append((processor_seconds(pid) - used) / seen.statuses[200] / alone)
    wrk = by_wrk(port, each)
    return {
        "images a second": round(statistics.median(served), 1),
        "Detector.submit a second": round(statistics.median(bare), 1),
        "server / Detector.submit": round(statistics.median(ratios), 3),
        "processor time, server / Detector.submit": round(statistics.median(costs), 3),
        "wrk": round(wrk, 1) if wrk else None,
    }


def faults(facts: dict[str, Any]) -> list[str]:
    """List what does not hold, in sentences."""
    full, over, lost = facts["capacity"], facts["twice the capacity"], facts["a worker killed"]
    bound = over["queue and a batch x service ms at the slowest"]
    found = {
        f"the rate is {full['server / Detector.submit']} of Detector.submit": full["server / Detector.submit"]
        >= LEAST_RATE,
        f"{over['wrong'] + lost['wrong']} answers are wrong": over["wrong"] + lost["wrong"] == 0,
        f"statuses are {over['statuses']}": set(over["statuses"]) <= {"200", "503"}
        and "200" in over["statuses"],
        f"{over['MB more at most']} MB more after warm-up": over["MB more at most"] <= MOST_MB,
        f"p99 is {over['p99 ms']} ms, {bound} are allowed": bound is not None and over["p99 ms"] <= bound,
        f"a killed worker cost {lost['statuses']}": set(lost["statuses"]) <= {"200", "503"}
        and 0 < lost["statuses"].get("503", 0) <= BATCH,
        f"after a worker was killed: {lost['statuses afterwards']}": set(lost["statuses afterwards"])
        == {"200"},
    }
    return [sentence for sentence, holds in found.items() if not holds]


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All phases."""
    with Detector(given.model) as detector:
        wanted: list[object] = [detector(picture).to_json() for picture in PICTURES]
        with running(given.model, given.workers) as (pid, port):
            full = at_capacity(detector, (pid, port), wanted, given)
            print("capacity", full, flush=True)
            over = asyncio.run(overload(client_of(port, wanted), pid, full["images a second"], given.seconds))
            print("twice the capacity", over, flush=True)
    with Detector(given.model, threads=1) as detector:  # as each of two workers has them
        alone: list[object] = [detector(picture).to_json() for picture in PICTURES]
    with running(given.model, 2) as (pid, port):
        lost = asyncio.run(killing(client_of(port, alone), pid, 2, min(max(given.seconds / 10, 3.0), 15.0)))
        print("a worker killed", lost, flush=True)
    return {
        "processor": processor_name(),
        "cores": cores(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        "model": given.model,
        "workers": given.workers,
        "connections": given.connections,
        "capacity": full,
        "twice the capacity": over,
        "a worker killed": lost,
    }


def lines(facts: dict[str, Any]) -> list[str]:
    """The figures in Markdown."""
    full, over, lost = facts["capacity"], facts["twice the capacity"], facts["a worker killed"]
    return [
        f"{facts['processor']}, {facts['cores']} cores, which the client shares; model {facts['model']}, "
        f"{facts['workers'] or 'no'} worker processes, queue {QUEUE}, batches up to {BATCH}.",
        "",
        "| | |",
        "|---|---|",
        f"| images a second at capacity | {full['images a second']} |",
        f"| beside `Detector.submit` in one process | {full['server / Detector.submit']} |",
        f"| processor time of an image beside it | {full['processor time, server / Detector.submit']} |",
        f"| twice the capacity for | {over['seconds']} s |",
        f"| answers by status | {over['statuses']} |",
        f"| wrong answers | {over['wrong'] + lost['wrong']} |",
        f"| p50, p99 of accepted requests | {over['p50 ms']} ms, {over['p99 ms']} ms |",
        f"| queue x seconds an image takes | {over['queue x service ms']} ms |",
        f"| queue and a batch x seconds an image takes, at the slowest | "
        f"{over['queue and a batch x service ms at the slowest']} ms |",
        f"| memory after warm-up, and more at most | {over['MB after warm-up']} MB, {over['MB more at most']} MB |",
        f"| a worker of two killed | {lost['statuses']} |",
    ]


def main() -> int:
    """Measure, print, and with --write leave benchmarks/results/serve.json and .md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="builtin")
    parser.add_argument("--seconds", type=float, default=300.0, help="at twice the capacity")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/serve.*")
    given = parser.parse_args()
    facts = measure(given)
    wrong = faults(facts)
    for sentence in wrong:
        print(f"not within its limit: {sentence}")
    if given.write:
        write("serve", facts | {"faults": wrong}, lines(facts))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
