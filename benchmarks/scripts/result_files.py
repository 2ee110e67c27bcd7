"""Result files of the scripts in benchmarks/results.

They are those from which `readme.py` makes the page: NAME.json and NAME.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeyolo.support.files import atomic_file

RESULTS = Path(__file__).parents[1] / "results"


def write(name: str, facts: Any, lines: Sequence[str]) -> None:
    """Write `facts` as JSON, and `lines` of Markdown beside them."""
    RESULTS.mkdir(exist_ok=True)
    for suffix, text in ((".json", json.dumps(facts, indent=1)), (".md", "\n".join(lines).rstrip("\n"))):
        with atomic_file(RESULTS / f"{name}{suffix}") as draft:
            draft.write_text(text + "\n", encoding="utf-8")
