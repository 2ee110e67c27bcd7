"""`python -m edgeyolo.schemas` writes artifact-1.json anew."""

from __future__ import annotations

import json

from edgeyolo.files import atomic_file
from edgeyolo.schemas import ARTIFACT, artifact_schema

if __name__ == "__main__":
    with atomic_file(ARTIFACT) as draft:
        draft.write_text(json.dumps(artifact_schema(), indent=1) + "\n", encoding="utf-8")
