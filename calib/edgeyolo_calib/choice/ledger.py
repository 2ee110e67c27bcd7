"""Measurements that are kept as they are made.

A long run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeyolo.errors import DamagedFileError
from edgeyolo.support.files import atomic_file

SCHEMA = "edgeyolo-measurements/1"


class Ledger:
    """Values by name, in a file.

    `about` says what was measured on; values measured on anything else are dropped.
    """

    def __init__(self, path: Path | None, about: Mapping[str, Any]) -> None:
        self._path, self._about = path, dict(about)
        self._values: dict[str, Any] = {}
        if path is not None and path.exists():
            kept = _read(path)
            if kept["about"] == json.loads(json.dumps(self._about)):
                self._values = kept["values"]

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def of(self, name: str, measure: Callable[[], Any]) -> Any:
        """The value of that name: as it was kept, or measured now and kept.

        It is a number or a list of numbers.
        """
        if name not in self._values:
            self._values[name] = measure()
            self._save()
        return self._values[name]

    def _save(self) -> None:
        if self._path is None:
            return
        data = {"schema": SCHEMA, "about": self._about, "values": self._values}
        with atomic_file(self._path) as draft:
            draft.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedFileError(f"{path}: not JSON ({error})") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or not {"about", "values"} <= data.keys():
        raise DamagedFileError(f"{path}: expected measurements of schema {SCHEMA!r}", hint="Remove it.")
    return data
