"""The Report: round trip, schema, what is refused, merging."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import edgeyolo_bench
from edgeyolo.errors import DamagedFileError, UsageError
from edgeyolo.support.dataclass_json import from_plain, to_plain
from edgeyolo_bench.values.report import Report, load_report, merge, report_schema


def example(kind: Any, name: str = "x") -> Any:
    """A value of a type with every optional part present, so that a round trip leaves nothing out."""
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        values = {item.name: example(hints[item.name], item.name) for item in fields(kind)}
        return kind(**values | ({"schema": "edgeyolo-bench/1"} if "schema" in values else {}))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        items = arguments[:1] * 2 if arguments[-1] is Ellipsis else arguments
        return tuple(example(item, name) for item in items)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"a": example(arguments[1]), "b": example(arguments[1])}
    if arguments:
        return example(next(item for item in arguments if item is not type(None)), name)
    return {str: name, int: 3, float: 0.25, bool: True, Any: [1, "two"]}[kind]


def whole() -> Report:
    report: Report = example(Report)
    first, second = report.devices
    return replace(report, devices=(replace(first, name="device"), replace(second, name="other")))


def test_a_report_comes_back_as_it_was(tmp_path: Path) -> None:
    whole().save(tmp_path / "report.json")
    assert load_report(tmp_path / "report.json") == load_report(tmp_path) == whole()


def test_floats_that_json_has_no_word_for_become_null(tmp_path: Path) -> None:
    assert to_plain({"a": float("nan"), "b": (float("inf"), 1.0)}) == {"a": None, "b": [None, 1.0]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.update(schema="edgeyolo-bench/9"), "edgeyolo-bench/9"),
        (lambda data: data.pop("measurements"), "missing measurements"),
        (lambda data: data.update(extra=1), "unknown extra"),
        (lambda data: data["measurements"][0]["artifact"].update(bytes="many"), "artifact.bytes"),
        (lambda data: data["measurements"][0]["artifact"].update(size=[1]), "a list of 2"),
        (lambda data: data["measurements"][0].update(reportable=1), "a boolean"),
        (lambda data: data.update(devices={}), "a list"),
    ],
)
def test_malformed_reports_are_refused_by_their_wrong_part(change: Any, words: str) -> None:
    data = json.loads(json.dumps(whole().to_json()))
    change(data)
    with pytest.raises(DamagedFileError, match=words.replace("(", r"\(")):
        Report.from_json(data)


def test_files_that_are_no_reports_are_refused(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(DamagedFileError, match="not JSON"):
        load_report(tmp_path)
    with pytest.raises(UsageError, match="no such report"):
        load_report(tmp_path / "absent.json")


def test_the_published_schema_is_that_of_the_code() -> None:
    published = Path(edgeyolo_bench.__file__).with_name("values") / "report.schema.json"
    assert json.loads(published.read_text()) == report_schema(), (
        "write it again: python -m edgeyolo_bench.values.schema"
    )


def test_a_report_keeps_its_schema_and_a_wrong_one_does_not() -> None:
    schema, data = report_schema(), json.loads(json.dumps(whole().to_json()))
    jsonschema.validate(data, schema)
    data["measurements"][0]["throughput"]["value"] = "fast"
    with pytest.raises(jsonschema.ValidationError, match="'fast' is not of type"):
        jsonschema.validate(data, schema)


def test_merging_keeps_every_device_apart() -> None:
    one = whole()
    merged = merge((one, one))
    assert [device.name for device in merged.devices] == ["device", "other", "device (2)", "other (2)"]
    assert [item.device for item in merged.measurements] == ["device"] * 2 + ["device (2)"] * 2
    assert [item.device for item in merged.comparisons] == ["device"] * 2 + ["device (2)"] * 2
    assert [item.placements[0].device for item in merged.limits] == ["device"] * 2 + ["device (2)"] * 2
    assert Report.from_json(json.loads(json.dumps(merged.to_json()))) == merged


def test_a_tuple_of_fixed_length_and_a_union_come_back() -> None:
    assert from_plain(tuple[int, float], [1, 2], "x") == (1, 2.0)
    assert from_plain(int | None, None, "x") is None


DAMAGE = {
    "endless depth": lambda text: "[" * 100_000,
    "not JSON": lambda text: text[:-5],
    "not text": lambda text: "\udcff" + text,
    "a device that is not in it": lambda text: text.replace('"device": "device"', '"device": "nobody"'),
    "no time": lambda text: text.replace('"value": 0.25', '"value": 0'),
    "endless time": lambda text: text.replace('"value": 0.25', '"value": Infinity'),
    "another type": lambda text: text.replace('"value": 0.25', '"value": "fast"'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_baseline_is_refused(damage: Any, tmp_path: Path) -> None:
    report = whole()
    report = replace(
        report,
        measurements=tuple(replace(item, device="device") for item in report.measurements),
        comparisons=(), limits=(),
    )  # fmt: skip
    report.save(tmp_path / "report.json")
    assert load_report(tmp_path) == report
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    damaged = damage(text)
    assert damaged != text
    (tmp_path / "report.json").write_bytes(damaged.encode("utf-8", "surrogateescape"))
    with pytest.raises(DamagedFileError):
        load_report(tmp_path)
