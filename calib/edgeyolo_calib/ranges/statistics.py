"""Statistics of every tensor as one JSON file.

They are the ranges that INT8 exports are made from.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeyolo.errors import DamagedFileError, UsageError
from edgeyolo.support.files import atomic_file
from edgeyolo_calib.ranges.histogram import Histogram
from edgeyolo_calib.ranges.ranges import Scheme

SCHEMA = "edgeyolo-ranges/1"


@dataclass(frozen=True)
class Origin:
    """Origin of statistics.

    It has the ONNX graph's `Graph.identity`, the images' hash (with their number and description), and the
    input's (height, width).
    """

    graph: str
    images: str
    count: int
    described: str
    size: tuple[int, int]

    def same(self, other: Origin) -> bool:
        """Return True if both have the same graph, images and size."""
        return (self.graph, self.images, self.size) == (other.graph, other.images, other.size)


@dataclass
class Statistics:
    """A histogram for each tensor, after `done` batches were seen.

    `complete` when those were all. `floats` are layers (see `rules.Unit.output`) that were found to be better
    left in float; `scheme` is how ranges are chosen, None where that is not settled, and `tried` the output
    errors by which it was chosen.
    """

    origin: Origin
    tensors: dict[str, Histogram] = field(default_factory=dict)
    done: int = 0
    complete: bool = False
    floats: tuple[str, ...] = ()
    scheme: Scheme | None = None
    tried: dict[str, float] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write the file, or leave what was there."""
        data = {
            "schema": SCHEMA,
            "origin": vars(self.origin) | {"size": list(self.origin.size)},
            "done": self.done,
            "complete": self.complete,
            "floats": list(self.floats),
            "scheme": asdict(self.scheme) if self.scheme else None,
            "tried": self.tried,
            "tensors": {name: each.to_json() for name, each in sorted(self.tensors.items())},
        }
        with atomic_file(path) as draft:
            draft.write_text(json.dumps(data, sort_keys=True, separators=(",", ":")) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Statistics:
        """Read the file; anything that is not one raises DamagedFileError."""
        try:
            data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError(f"{path}: there is no such ranges file") from error
        except (ValueError, OSError) as error:
            raise DamagedFileError(f"{path}: not JSON ({error})") from error
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema != SCHEMA:
            raise DamagedFileError(
                f"{path}: schema {schema!r}, this version of edgeyolo reads {SCHEMA!r}",
                hint="Calibrate again with this version.",
            )
        try:
            origin = Origin(**data["origin"] | {"size": tuple(data["origin"]["size"])})
            tensors = {
                name: Histogram.from_json(each, f"{path}: {name}") for name, each in data["tensors"].items()
            }
            scheme = _scheme(data["scheme"]) if data.get("scheme") else None
            tried = {str(name): float(error) for name, error in data.get("tried", {}).items()}
            floats = tuple(str(name) for name in data.get("floats", ()))
            return cls(origin, tensors, int(data["done"]), bool(data["complete"]), floats, scheme, tried)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedFileError(f"{path}: {type(error).__name__}: {error}") from error


def _scheme(data: dict[str, Any]) -> Scheme:
    """The scheme of a file.

    Older ones say how weights were rounded, which is no part of it.
    """
    return Scheme(**{name: value for name, value in data.items() if name != "weights"})
