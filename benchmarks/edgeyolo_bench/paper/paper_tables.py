"""The paper's Tables 1, 2, 9 and 10, every row, as data.

`PROTOCOLS` says what each was measured with.

`paper_tables.csv` holds what is printed, with two misprints put right: YOLOR-W6's parameters are 79.8M (printed
"79.8G") and Table 9's "YOLO-E6 [81]" is the YOLOR-E6 of Table 2. yolov7-tiny's 0.4 ms comes from the text below
Table 10.
"""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

from edgeyolo.errors import UsageError

NUMBERS = (1, 2, 9, 10)
_PERCENT = {"ap_val", "ap_test", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"}
_WHOLE = {"table", "imgsz"}


@dataclass(frozen=True)
class PaperRow:
    """One network in one table. None where the paper prints nothing or "-".

    `params` in millions, `gflops` at `imgsz`, `fps` at batch 1 on one `gpu`, `batch32_ms` per image; every AP as a
    fraction of 1. `ap50` to `ap_large` are of val2017 in Table 1 and of test-dev in Tables 2 and 9. `cites` is the
    number of the paper's reference, `network` the name of the network here if it is one of ours. `precision` and
    `iou`, the threshold of the suppression, are Table 10's.
    """

    table: int
    model: str
    network: str | None
    cites: int | None = None
    params: float | None = None
    gflops: float | None = None
    imgsz: int | None = None
    gpu: str | None = None
    fps: float | None = None
    batch32_ms: float | None = None
    ap_val: float | None = None
    ap_test: float | None = None
    ap50: float | None = None
    ap75: float | None = None
    ap_small: float | None = None
    ap_medium: float | None = None
    ap_large: float | None = None
    precision: str | None = None
    iou: float | None = None

    @property
    def latency_ms(self) -> float | None:
        """Milliseconds of one image at batch 1, from the printed FPS."""
        return 1e3 / self.fps if self.fps else None

    def to_json(self) -> dict[str, Any]:
        """The row as plain values for a JSON file."""
        return asdict(self)


@dataclass(frozen=True)
class Improvement:
    """A row "improvement".

    It compares the row above it with an earlier one, as printed ("-43%", "+0.4", "=").
    """

    table: int
    params: str
    gflops: str
    ap_val: str

    def to_json(self) -> dict[str, Any]:
        """The row as plain values for a JSON file."""
        return asdict(self)


@dataclass(frozen=True)
class Protocol:
    """Protocol of a table's figures.

    `batch` of its speed (None: it has none) and which images its `ap50` is of.
    """

    title: str
    batch: int | None
    details: str  # which images AP50 to AP large are of
    facts: tuple[str, ...]


_COMMON = (
    "AP: COCO, rectangular inference (each batch padded to its own shape), multi-label, confidence 0.001, "
    "IoU 0.65, at most 300 boxes an image",
)
_SPEED = (
    "FPS: batch 1, FP16 in PyTorch, without TensorRT, inference only: neither pre-processing nor suppression",
)
PROTOCOLS = {
    1: Protocol(
        "Comparison of baseline object detectors",
        32,
        "val2017",
        (*_COMMON, "the text's 0.4 ms of yolov7-tiny: V100, batch 32, milliseconds per image"),
    ),
    2: Protocol(
        "Comparison of state-of-the-art real-time object detectors", 1, "test-dev", (*_COMMON, *_SPEED)
    ),
    9: Protocol(
        "More comparison, without extra object detection training data", 1, "test-dev", (*_COMMON, *_SPEED)
    ),
    10: Protocol("Comparison of different settings", None, "val2017", _COMMON),
}


@cache
def read_rows() -> tuple[PaperRow | Improvement, ...]:
    """Every row of the four tables, in the paper's order."""
    text = files(__package__).joinpath("paper_tables.csv").read_text(encoding="utf-8")
    return tuple(_row(cells) for cells in csv.DictReader(text.splitlines()))


def table(number: int, networks: tuple[str, ...] = ()) -> tuple[PaperRow | Improvement, ...]:
    """The rows of one table; with `networks`, only those of these networks of ours.

    Raises UsageError for a number that is not one of `NUMBERS`.
    """
    if number not in NUMBERS:
        hint = "edgeyolo ablate --table N has the ablation tables 3 to 8."
        known = ", ".join(map(str, NUMBERS))
        raise UsageError(f"table {number}: expected one of {known}", hint=hint)
    rows = (row for row in read_rows() if row.table == number)
    return tuple(row for row in rows if not networks or getattr(row, "network", None) in networks)


def _row(cells: dict[str, str]) -> PaperRow | Improvement:
    if cells["kind"] == "improvement":
        return Improvement(int(cells["table"]), cells["params_m"], cells["gflops"], cells["ap_val"])
    cells = cells | {"params": cells["params_m"]}
    return PaperRow(**{field.name: _value(field.name, cells[field.name]) for field in fields(PaperRow)})


def _value(name: str, cell: str) -> Any:
    if name in {"model", "network", "gpu", "precision"} or not cell:
        return cell or None
    if name in _PERCENT:
        return round(float(cell) / 100, 4)  # printed with one decimal of a percent
    return int(cell) if name in _WHOLE | {"cites"} else float(cell)
