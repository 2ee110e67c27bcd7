"""What was measured on this machine, kept in the cache until something it depends on changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import Any

from edgeyolo import __version__, environment
from edgeyolo.doctor import cores, processor_name
from edgeyolo.errors import EdgeYoloError
from edgeyolo.files import atomic_file, user_cache

SCHEMA = "edgeyolo-measured/1"
# These say what to choose or where to keep things, not how fast anything is.
_NO_MATTER = ("TARGET", "DEVICE", "THREADS", "MEASURE", "CACHE", "WEIGHTS_URL", "DEBUG", "SHARED")


@dataclass(frozen=True)
class Measured:
    """By target, the milliseconds of one image, and why others could not be exported or run after all."""

    milliseconds: Mapping[str, float]
    failed: Mapping[str, str] = field(default_factory=dict)


def key_of(weights_sha256: str, facts: Mapping[str, Any]) -> str:
    """The name of a record: the content of the weights, what was asked for, the runtimes' versions, the machine."""
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
    """The record, or None where there is none that can be read: it is only measured again then."""
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
    """Keep the record; where the cache cannot be written, say so in a sentence instead of failing."""
    text = json.dumps({"schema": SCHEMA, **asdict(measured)}, indent=2, sort_keys=True) + "\n"
    try:
        with atomic_file(_path(key)) as draft:
            draft.write_text(text, encoding="utf-8")
    except (OSError, EdgeYoloError) as error:
        return f"it will be measured again next time: {error}"
    return ""


def _path(key: str) -> Path:
    return user_cache() / "measured" / f"{key}.json"
