"""Load on a running server: rate, latency, statuses, wrong answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeyolo.errors import EdgeYoloError
from edgeyolo_bench.live.client import NO_ANSWER, Address, Client, Seen, closed_loop, open_loop
from edgeyolo_bench.live.report import LoadFacts
from edgeyolo_bench.measure.statistics import quantile, rate

QUANTILES = (0.5, 0.9, 0.99)
_WARM = 0.1  # share of the run that goes before it


@dataclass(frozen=True)
class Load:
    """Load of a run.

    It lasts `seconds`: `connections` in turn or, where given, pictures at a `rate` a second.
    """

    seconds: float = 10.0
    connections: int = 8
    rate: float | None = None


def measure_load(url: str, pictures: Sequence[bytes], load: Load, *, token: str = "") -> LoadFacts:
    """Load a server for a while.

    Every picture is sent once alone first: what comes then is the right answer of those that follow.

    Raises:
        UsageError: `url` is no address of HTTP.
        EdgeYoloError: the server does not answer a picture with detections.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    seen = asyncio.run(_loaded(url, pictures, load, headers))
    times = np.array(seen.milliseconds)
    gaps = np.diff(np.array(seen.finished))
    return LoadFacts(
        server=url,
        connections=load.connections if load.rate is None else None,
        offered=load.rate,
        seconds=seen.seconds,
        rate=rate(np.maximum(gaps, 1e-9), 1) if len(gaps) else None,
        latency=tuple(quantile(times, q) for q in QUANTILES) if len(times) else (),
        statuses={str(status): count for status, count in sorted(seen.statuses.items())},
        wrong=seen.wrong,
    )


async def _loaded(url: str, pictures: Sequence[bytes], load: Load, headers: Mapping[str, str]) -> Seen:
    address = Address.parse(url)
    alone = Client(address, pictures, [None], headers=headers)
    wanted = [await _alone(alone, number, url) for number in range(len(pictures))]
    client = Client(address, pictures, wanted, headers=headers)
    await _load(client, load, load.seconds * _WARM)
    return await _load(client, load, load.seconds)


async def _load(client: Client, load: Load, seconds: float) -> Seen:
    if load.rate is not None:
        return await open_loop(client, load.rate, seconds)
    return await closed_loop(client, load.connections, seconds)


async def _alone(client: Client, number: int, url: str) -> object:
    status, found = await client.detections(number)
    if status == NO_ANSWER:
        raise EdgeYoloError(
            f"{url}: no answer", hint="Does it run? edgeyolo serve MODEL --port 8000 starts one."
        )
    if status != 200 or found is None:
        hint = (
            "Add --token-file."
            if status in (401, 403)
            else "POST /detect takes an image and answers detections."
        )
        raise EdgeYoloError(f"{url}: expected detections of a picture, got status {status}", hint=hint)
    return found
