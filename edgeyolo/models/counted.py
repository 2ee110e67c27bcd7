"""Figures of `edgeyolo models`, written down.

Reading them takes no torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgeyolo.models import specs
from edgeyolo.models.paper import PaperFigures, figures


@dataclass(frozen=True)
class Description:
    """One network beside what the paper says of it.

    `params` and `gflops` are those of the re-parameterized network.

    `params_training` counts the training form, auxiliary heads included. `gflops` is for one image of
    `imgsz` x `imgsz`, the paper's size. 80 classes.
    """

    name: str
    params: int
    params_training: int
    gflops: float
    imgsz: int
    strides: tuple[int, ...]
    paper: PaperFigures

    def to_json(self) -> dict[str, Any]:
        """The description as plain values for a JSON file."""
        return asdict(self)


# (params, params_training, gflops) as `complexity.describe` counts them on the built network; a test compares them.
COUNTED = {
    "yolov7-tiny": (6_219_709, 6_228_762, 5.788550144),
    "yolov7-tiny-silu": (6_219_709, 6_228_762, 13.7007104),
    "yolov7": (36_905_341, 37_622_682, 104.5110784),
    "yolov7x": (71_311_741, 71_347_394, 189.6736768),
    "yolov7-w6": (70_394_300, 82_312_436, 359.7172736),
    "yolov7-e6": (97_202_940, 111_898_292, 514.4256512),
    "yolov7-d6": (133_757_052, 154_709_364, 701.7381888),
    "yolov7-e6e": (151_687_420, 166_408_884, 842.1842944),
}


def described(name: str) -> Description:
    """The description of one of the eight networks, as it was counted."""
    params, params_training, gflops = COUNTED[name]
    paper = figures(name)
    return Description(name, params, params_training, gflops, paper.imgsz, specs.get(name).strides, paper)
