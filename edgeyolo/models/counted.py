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
    """One network beside what the paper says of it, if it does.

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
    paper: PaperFigures | None

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
    "yolov4-tiny": (6_053_502, 6_056_606, 6.907876352),
    "yolov4-tiny-3l": (6_324_157, 6_327_453, 4.9128448),
    "yolov3": (61_922_845, 61_949_149, 155.8913024),
    "yolov3-spp": (62_971_933, 62_998_749, 156.7301632),
    "yolov4-csp": (52_889_053, 52_921_437, 120.2397184),
    "yolor-csp": (52_889_053, 52_923_994, 120.2397184),
    "yolor-csp-x": (96_892_725, 96_943_410, 226.518016),
    "r50-csp": (34_267_581, 34_299_578, 65.1501568),
    "x50-csp": (32_261_885, 32_299_962, 60.2742784),
    "yolor-p6": (37_230_012, 37_265_016, 325.1170304),
    "yolor-w6": (79_824_444, 79_873_400, 452.6473216),
    "yolor-e6": (115_835_900, 115_899_960, 682.119168),
    "yolor-d6": (151_692_540, 151_773_240, 934.432768),
    "efficientnet-lite0-pan": (5_417_149, 5_441_149, 2.61584),
}


def described(name: str) -> Description:
    """The description of a network, as it was counted."""
    params, params_training, gflops = COUNTED[name]
    spec, paper = specs.find(name), figures(name)
    imgsz = paper.imgsz if paper else spec.imgsz
    return Description(name, params, params_training, gflops, imgsz, spec.strides, paper)
