"""Write artifact-1.json anew: `python -m edgeyolo.artifact.schema`."""

from __future__ import annotations

import json

from edgeyolo.artifact.schema import ARTIFACT, artifact_schema
from edgeyolo.support.files import atomic_file

if __name__ == "__main__":
    with atomic_file(ARTIFACT) as draft:
        draft.write_text(json.dumps(artifact_schema(), indent=1) + "\n", encoding="utf-8")
