"""The paper's figures for the networks on COCO (Tables 1 and 2), as data.

No torch here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class PaperFigures:
    """One row of the paper's tables.

    `params` in millions, `gflops` at `imgsz` x `imgsz`, `fps` on a V100 at batch 1.

    AP as fractions of 1 on val2017, `ap_test` on test-dev.
    """

    name: str
    imgsz: int
    params: float
    gflops: float
    ap: float
    ap_test: float | None = None
    ap50: float | None = None
    ap75: float | None = None
    fps: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The row as plain values for a JSON file."""
        return asdict(self)


def figures(name: str) -> PaperFigures:
    """The paper's row for one of the eight networks.

    yolov7-tiny has two sizes: it is the larger one.
    """
    return next(row for row in ROWS if row.name == name)


# yolov7-d6's 154.7M and 806.8G are those of its training form, auxiliary heads included.
ROWS = (
    PaperFigures("yolov7-tiny", 416, 6.2, 5.8, 0.352, ap50=0.528, ap75=0.373),
    PaperFigures("yolov7-tiny", 320, 6.2, 3.5, 0.308, ap50=0.473, ap75=0.322),
    PaperFigures("yolov7-tiny-silu", 640, 6.2, 13.8, 0.387, 0.387, fps=286),
    PaperFigures("yolov7", 640, 36.9, 104.7, 0.512, 0.514, 0.697, 0.555, 161),
    PaperFigures("yolov7x", 640, 71.3, 189.9, 0.529, 0.531, 0.711, 0.575, 114),
    PaperFigures("yolov7-w6", 1280, 70.4, 360.0, 0.546, 0.549, fps=84),
    PaperFigures("yolov7-e6", 1280, 97.2, 515.2, 0.559, 0.560, 0.735, 0.611, 56),
    PaperFigures("yolov7-d6", 1280, 154.7, 806.8, 0.563, 0.566, 0.738, 0.614, 44),
    PaperFigures("yolov7-e6e", 1280, 151.7, 843.2, 0.568, 0.568, 0.744, 0.621, 36),
)
