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


def figures(name: str) -> PaperFigures | None:
    """The paper's row for a network, None for baselines without one.

    yolov7-tiny has two sizes: it is the larger one.
    """
    return next((row for row in (*ROWS, *BASELINE_ROWS) if row.name == name), None)


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
# What the paper counts as yolov4-tiny-3l is another network than darknet's of that name, which is built here.
BASELINE_ROWS = (
    PaperFigures("yolov4-tiny", 416, 6.1, 6.9, 0.249, ap50=0.421, ap75=0.257),
    PaperFigures("yolov4-tiny-3l", 320, 8.7, 5.2, 0.308, ap50=0.473, ap75=0.322),
    PaperFigures("yolov4-csp", 640, 52.9, 120.4, 0.503, ap50=0.686, ap75=0.549),
    PaperFigures("yolor-csp", 640, 52.9, 120.4, 0.508, 0.511, 0.695, 0.553, 106),
    PaperFigures("yolor-csp-x", 640, 96.9, 226.8, 0.527, 0.530, 0.713, 0.574, 87),
    PaperFigures("yolor-p6", 1280, 37.2, 325.6, 0.535, 0.539, fps=76),
    PaperFigures("yolor-w6", 1280, 79.8, 453.2, 0.548, 0.552, fps=66),
    PaperFigures("yolor-e6", 1280, 115.8, 683.2, 0.557, 0.558, 0.732, 0.607, 45),
    PaperFigures("yolor-d6", 1280, 151.7, 935.6, 0.561, 0.565, 0.739, 0.612, 34),
)
