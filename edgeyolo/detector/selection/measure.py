"""How long one image takes on some artifacts of the same weights, in turns, briefly."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from statistics import median
from time import perf_counter

from edgeyolo import registry
from edgeyolo.artifact import Artifact
from edgeyolo.devices import Device
from edgeyolo.preprocess import preprocess
from edgeyolo.scenes import make_scene

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
    """The median milliseconds of inference on one generated picture, by the keys of `artifacts`.

    They take turns, so that what else the machine does falls on all alike. An artifact of a batch is given a full
    one, and its time divided.
    """
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
    """The name of the least time; where the documented order's earlier one is within `TOO_CLOSE` of it, that one."""
    best = min(milliseconds.values())
    return next(name for name in order if milliseconds.get(name, float("inf")) <= best * (1 + TOO_CLOSE))
