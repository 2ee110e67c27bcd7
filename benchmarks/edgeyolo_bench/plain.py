"""`edgeyolo.plain`, where the harness's own modules look for it."""

from edgeyolo.plain import from_plain, json_schema, to_plain

__all__ = ["from_plain", "json_schema", "to_plain"]
