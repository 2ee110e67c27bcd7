"""Report of `edgeyolo bench`.

It has frozen values with a JSON round trip and a published schema.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from edgeyolo.errors import DamagedFileError, EdgeYoloError, UsageError
from edgeyolo.support.dataclass_json import from_plain, json_schema, to_plain
from edgeyolo.support.files import atomic_file
from edgeyolo_bench.limits.roofline import Limits
from edgeyolo_bench.values.choice import Choice
from edgeyolo_bench.values.device import DeviceFacts
from edgeyolo_bench.values.measurement import Change, Comparison, Failure, Measurement

SCHEMA = "edgeyolo-bench/1"
Item = TypeVar("Item")


@dataclass(frozen=True)
class Report:
    """Everything one call of `edgeyolo bench` found.

    Several devices where a fleet was measured. `created` is UTC, ISO 8601; `limits` is the roofline of each
    device, `choices` the best within --max-latency; `interrupted` marks a report of what was completed before
    Ctrl-C.
    """

    created: str
    edgeyolo: str
    devices: tuple[DeviceFacts, ...]
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...] = ()
    limits: tuple[Limits, ...] = ()
    failures: tuple[Failure, ...] = ()
    changes: tuple[Change, ...] = ()
    choices: tuple[Choice, ...] = ()
    warnings: tuple[str, ...] = ()
    command: str = ""
    interrupted: bool = False
    schema: str = SCHEMA

    def device(self, name: str) -> DeviceFacts:
        """The device of that name."""
        return next(item for item in self.devices if item.name == name)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file, as `report_schema` describes them."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_json(cls, data: Any, where: str = "report.json") -> Report:
        """Rebuild a report.

        Another schema, missing or unknown parts raise DamagedFileError.
        """
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema != SCHEMA:
            raise DamagedFileError(
                f"{where}: schema {schema!r}, this version of edgeyolo reads {SCHEMA!r}",
                hint="Measure again with this version, or read it with the one that wrote it.",
            )
        report: Report = from_plain(cls, data, where)
        report._require_whole(where)
        return report

    def _require_whole(self, where: str) -> None:
        """Raise DamagedFileError for a report whose parts do not fit each other.

        They speak of a device that is not in it, or lack what all have.
        """
        known = {device.name for device in self.devices}
        named = [item.device for item in self.measurements]
        named += [item.device for item in self.comparisons] + [item.device for item in self.limits]
        if unknown := set(named) - known:
            raise DamagedFileError(f"{where}: no facts of the device {', '.join(sorted(unknown))}")
        for item in self.measurements:
            values = [found.value for stage in item.stages for found in stage.quantiles]
            if not item.stages or not all(stage.quantiles for stage in item.stages):
                raise DamagedFileError(f"{where}: {item.label} has no times")
            if not all(0 < value < math.inf for value in (*values, item.throughput.value)):
                raise DamagedFileError(f"{where}: {item.label} has times that no clock gives")

    def save(self, path: str | Path) -> None:
        """Write the report as JSON, whole or not at all."""
        with atomic_file(path) as draft:
            draft.write_text(
                json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )


def load_report(path: str | Path) -> Report:
    """Read a report.json; a folder of `edgeyolo bench -o` will do too.

    Raises:
        UsageError: there is no report at `path`.
        DamagedFileError: it is not a report of this schema.
    """
    file = Path(path)
    file = file / "report.json" if file.is_dir() else file
    if not file.is_file():
        raise UsageError(
            f"{file}: there is no such report", hint="edgeyolo bench MODEL -o DIR writes DIR/report.json"
        )
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise EdgeYoloError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{file}: not JSON ({error})") from error
    return Report.from_json(data, str(file))


def gather(
    items: Iterable[Item],
    measure: Callable[[Item], Report],
    name: Callable[[Item], str],
    unite: Callable[[Sequence[Report]], Report],
) -> Report:
    """One report, by `unite`, of what `measure` gives for each of `items`.

    One that fails is in the report's `failures`, as `name` calls it, and costs the others nothing; where all fail, the
    first error is raised. Ctrl-C ends it with what was completed; before anything was, it is raised.
    """
    reports: list[Report] = []
    failures: list[Failure] = []
    errors: list[EdgeYoloError] = []
    interrupted = False
    for item in items:
        try:
            reports.append(measure(item))
        except EdgeYoloError as error:
            errors.append(error)
            failures.append(Failure.of(name(item), error))
            continue
        except KeyboardInterrupt:
            if not reports:
                raise
            interrupted = True
        if interrupted or reports[-1].interrupted:
            break
    if not reports:
        raise errors[0]
    whole = unite(reports)
    return replace(whole, failures=(*whole.failures, *failures), interrupted=whole.interrupted or interrupted)


def merge(reports: Sequence[Report]) -> Report:
    """One report of several, in their order.

    A device that occurs twice is kept once per report, numbered.
    """
    taken: set[str] = set()
    devices: list[DeviceFacts] = []
    found: list[Measurement] = []
    compared: list[Comparison] = []
    limits: list[Limits] = []
    for report in reports:
        names = {}
        for device in report.devices:
            names[device.name] = _free(device.name, taken)
            devices.append(replace(device, name=names[device.name]))
        found += [replace(item, device=names[item.device]) for item in report.measurements]
        compared += [replace(item, device=names[item.device]) for item in report.comparisons]
        limits += [_renamed(item, names) for item in report.limits]
    return replace(
        reports[0],
        devices=tuple(devices),
        measurements=tuple(found),
        comparisons=tuple(compared),
        limits=tuple(limits),
        failures=tuple(item for report in reports for item in report.failures),
        warnings=tuple(dict.fromkeys(text for report in reports for text in report.warnings)),
        interrupted=any(report.interrupted for report in reports),
    )


def join(reports: Sequence[Report]) -> Report:
    """One report of several that one machine gave one after another.

    The machine as it was before the first and after the last, and whatever disturbed any of them.

    Placements stay under the limits that were measured beside them, so there may be several.
    """
    first, last = reports[0], reports[-1]
    device = first.devices[0]
    busy = tuple(dict.fromkeys(text for report in reports for text in report.devices[0].interference.busy))
    throttling = tuple(dict.fromkeys(text for report in reports for text in report.devices[0].throttling))
    after = last.devices[0]
    joined = replace(
        device,
        cpu=replace(device.cpu, mhz_after=after.cpu.mhz_after),
        temperatures_after=after.temperatures_after,
        throttling=throttling,
        interference=replace(device.interference, busy=busy),
    )
    return replace(
        first,
        devices=(joined,),
        measurements=tuple(item for report in reports for item in report.measurements),
        comparisons=tuple(item for report in reports for item in report.comparisons),
        limits=_one_roofline(tuple(item for report in reports for item in report.limits)),
        failures=tuple(item for report in reports for item in report.failures),
        warnings=tuple(dict.fromkeys(text for report in reports for text in report.warnings)),
        interrupted=any(report.interrupted for report in reports),
    )


def _one_roofline(limits: tuple[Limits, ...]) -> tuple[Limits, ...]:
    """Limits that are the same, joined."""
    found: list[Limits] = []
    for item in limits:
        bare = replace(item, placements=())
        same = next((n for n, other in enumerate(found) if replace(other, placements=()) == bare), None)
        if same is None:
            found.append(item)
        else:
            found[same] = replace(item, placements=(*found[same].placements, *item.placements))
    return tuple(found)


def _renamed(limits: Limits, names: dict[str, str]) -> Limits:
    placements = tuple(replace(item, device=names[item.device]) for item in limits.placements)
    return replace(limits, device=names[limits.device], placements=placements)


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    taken.add(free)
    return free


def report_schema() -> dict[str, Any]:
    """The JSON schema of report.json, published as edgeyolo_bench/report.schema.json."""
    return json_schema(Report, f"Report of edgeyolo bench ({SCHEMA})")
