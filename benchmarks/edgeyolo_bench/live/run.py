"""One call of `edgeyolo bench --source` or `--server`, with its machine."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from edgeyolo.version import __version__
from edgeyolo_bench.facts import Machine, Watch
from edgeyolo_bench.facts.load import between, judge, read_counters
from edgeyolo_bench.live.live_options import Live
from edgeyolo_bench.live.load_bench import Load, measure_load
from edgeyolo_bench.live.report import LiveReport, LoadFacts, StreamFacts
from edgeyolo_bench.live.stream_bench import measure_stream
from edgeyolo_bench.measure.jobs import Wanted, make_jobs
from edgeyolo_bench.measure.measure import Listener


def measure_live(
    live: Live,
    wanted: Wanted,
    places: Sequence[Path],
    listener: Listener,
    *,
    seconds: float,
    device: str = "",
) -> LiveReport:
    """Measure the source with each model, or the server."""
    jobs = make_jobs(places, wanted, listener.step, listener.remark)[0] if live.source else []
    machine = Machine()
    watch, before = Watch(machine, device), read_counters(machine)
    streams: list[StreamFacts] = []
    loads: list[LoadFacts] = []
    for job in jobs:
        assert live.source is not None
        streams.append(measure_stream(job, live.source, seconds=seconds, step=listener.step))
    if live.server:
        listener.step(f"load on {live.server}")
        load = Load(seconds, live.connections, live.rate)
        loads.append(measure_load(live.server, wanted.workload.encoded, load, token=live.token()))
    watch.look_again()
    spent = between(before, read_counters(machine))
    return LiveReport(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeyolo=__version__,
        # A server on this machine takes the processor as it should: that is no disturbance.
        device=watch.finish(judge(spent, watch.load if jobs else None, watch.device.cpu.available)),
        streams=tuple(streams),
        loads=tuple(loads),
        command=shlex.join(["edgeyolo", *sys.argv[1:]]),
    )
