"""Latency of one image on several artifacts of the same weights.

Measured in turns, kept in the cache.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from hashlib import sha256 as new_sha256
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.backend.devices import Device
from edgeyolo.errors import EdgeYoloError
from edgeyolo.runtime.preprocess import preprocess
from edgeyolo.support import environment
from edgeyolo.support.files import atomic_file, user_cache
from edgeyolo.support.machine import cores, processor_name
from edgeyolo.version import __version__

SCHEMA = "edgeyolo-measured/1"
# These say what to choose or where to keep things, not how fast anything is.
_NO_MATTER = ("TARGET", "DEVICE", "THREADS", "MEASURE", "CACHE", "WEIGHTS_URL", "DEBUG", "SHARED")

WARM_UP = 2
SECONDS = 1.0  # for each artifact
ROUNDS = (5, 50)
TOO_CLOSE = 0.05  # medians that differ by less than this share do not overrule the documented order


def measure(
    artifacts: Mapping[str, Artifact],
    *,
    threads: int | None = None,
    device: Device | None = None,
    rounds: tuple[int, int] = ROUNDS,
) -> dict[str, float]:
    """Median milliseconds of inference, by the keys of `artifacts`.

    Measured on one generated picture.

    They take turns, so that what else the machine does falls on all alike. An artifact of a batch is given a full
    one, and its time divided.
    """
    from edgeyolo.datasets.scenes import make_scene

    times: dict[str, list[float]] = {name: [] for name in artifacts}
    with ExitStack() as stack:
        runs = {}
        for name, artifact in artifacts.items():
            session = registry.open_session(artifact, threads=threads, device=device)
            stack.enter_context(closing(session))
            contract = artifact.manifest.input
            batch, _ = preprocess([make_scene(0).image] * contract.batch, contract)
            runs[name] = (session, batch.copy(), contract.batch)
            for _ in range(WARM_UP):
                session.run(runs[name][1])
        # All sessions are open and warm before the first round: they then take turns under the same conditions.
        least, most = rounds
        spent = 0.0
        while (done := len(next(iter(times.values())))) < most:
            if done >= least and spent >= SECONDS * len(runs):
                break
            for name, (session, batch, images) in runs.items():
                begin = perf_counter()
                session.run(batch)
                took = perf_counter() - begin
                times[name].append(1e3 * took / images)
                spent += took
    return {name: median(values) for name, values in times.items()}


def fastest(milliseconds: Mapping[str, float], order: list[str]) -> str:
    """Name of the fastest artifact.

    One that is earlier in the documented order wins where its time is within `TOO_CLOSE` of the least.
    """
    best = min(milliseconds.values())
    return next(name for name in order if milliseconds.get(name, float("inf")) <= best * (1 + TOO_CLOSE))


@dataclass(frozen=True)
class Measured:
    """Milliseconds of one image by target, and the targets that failed.

    The latter come with the reason why they could not be exported or run after all.
    """

    milliseconds: Mapping[str, float]
    failed: Mapping[str, str] = field(default_factory=dict)


def key_of(weights_sha256: str, facts: Mapping[str, Any]) -> str:
    """The name of a record.

    The content of the weights, what was asked for, the runtimes' versions, the machine.
    """
    data = {
        "weights": weights_sha256,
        "edgeyolo": __version__,
        "processor": processor_name(),
        "cores": cores(),
        "environment": {
            name: value
            for name, value in environment.set_here().items()
            if name.removeprefix(environment.PREFIX) not in _NO_MATTER
        },
        **facts,
    }
    return new_sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]


def recall(key: str) -> Measured | None:
    """The record, or None where there is none that can be read.

    It is only measured again then.
    """
    try:
        data = json.loads(_path(key).read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            return None
        times = {str(name): float(value) for name, value in data["milliseconds"].items()}
        failed = {str(name): str(value) for name, value in data["failed"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Measured(times, failed) if all(value > 0 for value in times.values()) else None


def remember(key: str, measured: Measured) -> str:
    """Keep the record.

    A cache that cannot be written is a sentence instead of a failure.
    """
    text = json.dumps({"schema": SCHEMA, **asdict(measured)}, indent=2, sort_keys=True) + "\n"
    try:
        with atomic_file(_path(key)) as draft:
            draft.write_text(text, encoding="utf-8")
    except (OSError, EdgeYoloError) as error:
        return f"it will be measured again next time: {error}"
    return ""


def _path(key: str) -> Path:
    return user_cache() / "measured" / f"{key}.json"
