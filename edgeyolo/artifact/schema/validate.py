"""Violations of a JSON schema.

It knows the words of JSON schema that our published schemas use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_KINDS: Mapping[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def violations(data: Any, schema: Mapping[str, Any], where: str = "") -> list[str]:
    """A phrase for everything in `data` that breaks `schema`; none where it conforms.

    `where` names the value.
    """
    return list(_Judge(schema).broken(data, schema, where))


@dataclass(frozen=True)
class _Judge:
    root: Mapping[str, Any]

    def broken(self, data: Any, schema: Mapping[str, Any], where: str) -> Iterator[str]:
        if "$ref" in schema:
            yield from self.broken(data, self.root["$defs"][schema["$ref"].removeprefix("#/$defs/")], where)
        elif "anyOf" in schema:
            told = [list(self.broken(data, each, where)) for each in schema["anyOf"]]
            yield from [] if [] in told else min(told, key=len)
        elif "enum" in schema or "const" in schema:
            allowed = schema.get("enum", [schema.get("const")])
            if data not in allowed:
                yield f"{where}: expected {' or '.join(map(repr, allowed))}, found {data!r}"
        elif "type" in schema and not _is(data, schema["type"]):
            yield f"{where}: expected {schema['type']}, found {data!r}"
        elif "pattern" in schema and not re.search(schema["pattern"], data):
            yield f"{where}: {data!r} does not match {schema['pattern']}"
        elif isinstance(data, list):
            yield from self._in_list(data, schema, where)
        elif isinstance(data, dict):
            yield from self._in_object(data, schema, where)

    def _in_list(self, data: list[Any], schema: Mapping[str, Any], where: str) -> Iterator[str]:
        if not schema.get("minItems", 0) <= len(data) <= schema.get("maxItems", len(data)):
            yield f"{where}: {len(data)} items"
            return
        items = schema.get("prefixItems", [schema.get("items", {})] * len(data))
        for index, (item, its) in enumerate(zip(data, items, strict=True)):
            yield from self.broken(item, its, f"{where}[{index}]")

    def _in_object(self, data: dict[str, Any], schema: Mapping[str, Any], where: str) -> Iterator[str]:
        known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        for name in schema.get("required", []):
            if name not in data:
                yield f"{where}: {name} is missing"
        for name, value in data.items():
            if name not in known and others is False:
                yield f"{where}: {name} is unknown"
            else:
                yield from self.broken(value, known.get(name, others or {}), f"{where}.{name}")


def _is(data: Any, kind: str) -> bool:
    if isinstance(data, bool) and kind != "boolean":
        return False
    return isinstance(data, _KINDS[kind])
