"""Frozen dataclasses to plain JSON values and back, and their JSON schema.

What a dataclass may hold: str, int, float, bool, Any, literals, None in unions, tuples, mappings of strings, other
dataclasses.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any

from edgeyolo.errors import DamagedFileError

_WORDS = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def to_plain(value: Any) -> Any:
    """Plain values for `json.dumps`.

    Floats that JSON has no word for (NaN, infinities) become None.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def from_plain(kind: Any, data: Any, where: str) -> Any:
    """Rebuild a value of type `kind`.

    Anything missing, unknown or of another type raises DamagedFileError.

    `where` names the value in messages. A field with a default may be missing.
    """
    if is_dataclass(kind):
        return _object(kind, data, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if data is None and type(None) in arguments:
            return None
        (inner,) = (item for item in arguments if item is not type(None))
        return from_plain(inner, data, where)
    if origin is tuple:
        return _sequence(arguments, data, where)
    if origin is Mapping:
        return _mapping(arguments[1], data, where)
    return _scalar(kind, data, where)


def _mapping(kind: Any, data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _mismatch(where, "an object", data)
    return {key: from_plain(kind, item, f"{where}.{key}") for key, item in data.items()}


def _scalar(kind: Any, data: Any, where: str) -> Any:
    if kind is Any:
        return data
    if typing.get_origin(kind) is typing.Literal:
        if data not in typing.get_args(kind):
            raise _mismatch(where, " or ".join(repr(item) for item in typing.get_args(kind)), data)
        return data
    if kind is float and isinstance(data, int | float) and not isinstance(data, bool):
        return _finite(data, where)
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise _mismatch(where, f"a {_WORDS[kind]}", data)
    return data


def _finite(data: float, where: str) -> float:
    try:
        value = float(data)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise _mismatch(where, "a finite number", data)
    return value


def _object(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise _mismatch(where, "an object", data)
    hints, known = field_types(kind), {item.name: item for item in fields(kind)}
    required = {name for name, item in known.items() if _is_required(item)}
    if missing := required - set(data):
        raise DamagedFileError(f"{where}: missing {', '.join(sorted(missing))}")
    if unknown := set(data) - set(known):
        raise DamagedFileError(f"{where}: unknown {', '.join(sorted(unknown))}")
    return kind(**{name: from_plain(hints[name], item, f"{where}.{name}") for name, item in data.items()})


def _sequence(arguments: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, list | tuple):
        raise _mismatch(where, "a list", data)
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(data)
    if len(arguments) != len(data):
        raise _mismatch(where, f"a list of {len(arguments)}", data)
    pairs = enumerate(zip(arguments, data, strict=True))
    return tuple(from_plain(kind, item, f"{where}[{index}]") for index, (kind, item) in pairs)


def _mismatch(where: str, expected: str, data: Any) -> DamagedFileError:
    try:
        found = str(data)[:60]
    except (ValueError, RecursionError):  # an integer of thousands of digits, lists in lists in lists
        found = type(data).__name__
    return DamagedFileError(f"{where}: expected {expected}, found {found!r}")


@cache
def field_types(kind: Any) -> dict[str, Any]:
    """Types of a dataclass's fields, by name."""
    return typing.get_type_hints(kind)


def _is_required(item: Any) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def json_schema(kind: Any, title: str) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a dataclass.

    Its docstrings become descriptions.
    """
    definitions: dict[str, Any] = {}
    root = _schema(kind, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if is_dataclass(kind):
        return _object_schema(kind, definitions)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(item, definitions) for item in arguments]}
    if origin is tuple:
        return _sequence_schema(arguments, definitions)
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    return {} if kind is Any else {"type": _WORDS[kind]}


def _sequence_schema(arguments: tuple[Any, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    if arguments[-1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    items = [_schema(item, definitions) for item in arguments]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _object_schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    name = kind.__name__
    if name not in definitions:
        definitions[name] = {}  # taken, should it refer to itself
        hints = field_types(kind)
        definitions[name] = {
            "description": " ".join((kind.__doc__ or "").split()),
            "type": "object",
            "properties": {item.name: _schema(hints[item.name], definitions) for item in fields(kind)},
            "required": [item.name for item in fields(kind) if _is_required(item)],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{name}"}
