"""Findings of streams and servers under measurement, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeyolo.support.dataclass_json import to_plain
from edgeyolo_bench.values.device import DeviceFacts
from edgeyolo_bench.values.measurement import Quantile, Rate

SCHEMA = "edgeyolo-bench-live/1"


@dataclass(frozen=True)
class StreamFacts:
    """One artifact on one source.

    `rate` are frames a second with every frame taken, None of a camera, which gives them at its own pace. `latency`
    (milliseconds from capture to result) and `dropped` (by cause) are of the source as it comes: a film plays at its
    own `pace` (frames a second) as a camera would, and the freshest frames are taken. `captured` and `delivered` are
    frames of that pass.
    """

    model: str
    target: str
    artifact: str
    source: str
    rate: Rate | None
    frames: int
    pace: float | None
    latency: tuple[Quantile, ...]
    captured: int
    delivered: int
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadFacts:
    """A server under load.

    `connections` send one picture after another (closed loop), or `offered` pictures a second come whatever becomes of
    those before (open loop; its latencies count from the moment each was due). `statuses` maps those of HTTP to how
    many, "0" is no answer. `wrong` answers differ from the picture's first one; latencies are in milliseconds, of
    accepted requests.
    """

    server: str
    connections: int | None
    offered: float | None
    seconds: float
    rate: Rate | None
    latency: tuple[Quantile, ...]
    statuses: Mapping[str, int]
    wrong: int


@dataclass(frozen=True)
class LiveReport:
    """Everything one call of `edgeyolo bench --source` or `--server` found.

    `created` is UTC, ISO 8601; the device is the one that measured.
    """

    created: str
    edgeyolo: str
    device: DeviceFacts
    streams: tuple[StreamFacts, ...] = ()
    loads: tuple[LoadFacts, ...] = ()
    command: str = ""
    schema: str = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        plain: dict[str, Any] = to_plain(self)
        return plain
