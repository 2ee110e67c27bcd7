"""A fleet of devices in one report.

A YAML file names the devices; they are measured one after another.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edgeyolo.errors import UsageError
from edgeyolo.support.reading import read_yaml
from edgeyolo_bench.remote.device import Remote

EXAMPLE = """devices:
  - host: pi@raspberrypi.local
    name: Raspberry Pi 5
    python: venv/bin/python
    targets: [cpu-onnx-fp32, cpu-tflite-int8]
  - host: jetson"""


@dataclass(frozen=True)
class Member:
    """A device of a fleet, and the targets that weights are measured on there.

    None given: those of the command line.
    """

    remote: Remote
    targets: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name in reports."""
        return self.remote.name or self.remote.host


def read_fleet(path: Path) -> tuple[Member, ...]:
    """The devices of a fleet file; `wheel` and `config` are relative to it.

    Raises UsageError for a file that is not one, with the device and the word that is wrong.
    """
    data = read_yaml(path, error=UsageError)
    devices = data.get("devices") if isinstance(data, dict) else None
    if not isinstance(devices, list) or not devices:
        raise UsageError(f"{path}: expected a list `devices`", hint=EXAMPLE)
    members = tuple(
        _member(item, f"{path}: device {number}", path.parent) for number, item in enumerate(devices, 1)
    )
    names = [member.name for member in members]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{path}: two devices are called {', '.join(doubled)}", hint="Give each a `name`.")
    return members


def _member(data: Any, where: str, folder: Path) -> Member:
    known = {item.name for item in fields(Remote)} | {"targets"}
    if not isinstance(data, dict) or not isinstance(data.get("host"), str):
        raise UsageError(f"{where}: expected at least a `host`, found {data!r}", hint=EXAMPLE)
    if unknown := set(data) - known:
        raise UsageError(
            f"{where}: unknown {', '.join(sorted(map(str, unknown)))}",
            hint=f"Known: {', '.join(sorted(known))}",
        )
    for name in ("name", "python", "wheel", "config"):
        if not isinstance(data.get(name, ""), str):
            raise UsageError(f"{where}: {name}: expected text, got {data[name]!r}", hint="Put it in quotes.")
    values = dict(data)
    targets = values.pop("targets", ())
    targets = [targets] if isinstance(targets, str) else targets
    if not isinstance(targets, list | tuple):
        raise UsageError(f"{where}: targets: expected a list, got {targets!r}", hint=EXAMPLE)
    threads = values.get("threads")
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise UsageError(f"{where}: threads: expected a number from 1, found {threads!r}")
    for name in ("wheel", "config"):
        if name in values:
            values[name] = folder / str(values[name])
    return Member(Remote(**values), tuple(map(str, targets)))
