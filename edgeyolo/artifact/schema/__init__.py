"""Published JSON schemas: `artifact-1.json` is that of manifest.json.

`python -m edgeyolo.artifact.schema` writes it anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeyolo.artifact.manifest import SCHEMA, Manifest
from edgeyolo.support.dataclass_json import json_schema

ARTIFACT = Path(__file__).with_name("artifact-1.json")


def artifact_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of manifest.json.

    It follows from the dataclasses that write it.
    """
    schema = json_schema(Manifest, "edgeyolo artifact: manifest.json")
    manifest = schema["$defs"]["Manifest"]
    fields = manifest["properties"]
    fields["target"] = {"type": "string", "pattern": "^[a-z0-9]+-[a-z0-9]+-[a-z0-9]+$"}
    fields["files"]["additionalProperties"] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    fields["schema"] = {"const": SCHEMA}
    manifest["required"] = sorted({*manifest["required"], "schema"})
    schema["$defs"].pop("Target")
    return schema
