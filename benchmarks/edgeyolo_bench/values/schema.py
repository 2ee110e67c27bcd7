"""Write report.schema.json anew: `python -m edgeyolo_bench.values.schema`."""

from __future__ import annotations

import json
from pathlib import Path

from edgeyolo.support.files import atomic_file
from edgeyolo_bench.values.report import report_schema

PUBLISHED = Path(__file__).with_name("report.schema.json")

if __name__ == "__main__":
    with atomic_file(PUBLISHED) as draft:
        draft.write_text(json.dumps(report_schema(), indent=1) + "\n", encoding="utf-8")
