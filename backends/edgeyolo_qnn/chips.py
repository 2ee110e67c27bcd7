"""Qualcomm's chips: numbers in QNN, and architectures of their Hexagon NPUs.

Sources:
    [executorch] the table of PyTorch's ExecuTorch, which Qualcomm maintains: number and architecture of each chip
                 https://github.com/pytorch/executorch/blob/main/backends/qualcomm/serialization/qc_schema.py
    [types]      QNN_SOC_MODEL_SC8380XP and QNN_SOC_MODEL_QCS8550 in the QNN SDK's QnnTypes.h; both have v73
    [v68]        the provider on a QCS6490: "The SocModel doesn't support FP16"
                 https://github.com/immich-app/immich/discussions/25112
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgeyolo.errors import UnsupportedTargetError

HALF = 69
"""The first architecture that computes in float16."""


@dataclass(frozen=True)
class Chip:
    """A system on a chip.

    Attributes:
        soc: its name in lower case, such as "sm8550".
        model: its number in QNN.
        arch: the architecture of its Hexagon NPU, 73 for v73.
        product: the name that it is sold under.
    """

    soc: str
    model: int
    arch: int
    product: str

    def facts(self) -> dict[str, str]:
        """The chip as an artifact's manifest states it."""
        return {
            "soc": self.soc,
            "product": self.product,
            "architecture": f"Hexagon v{self.arch}",
            "qnn_soc_model": str(self.model),
        }


CHIPS: Mapping[str, Chip] = MappingProxyType(
    {
        chip.soc: chip
        for chip in (
            Chip("sm8550", 43, 73, "Snapdragon 8 Gen 2"),
            Chip("sm8450", 36, 69, "Snapdragon 8 Gen 1"),
            Chip("sm8475", 42, 69, "Snapdragon 8+ Gen 1"),
            Chip("sm8650", 57, 75, "Snapdragon 8 Gen 3"),
            Chip("sm8750", 69, 79, "Snapdragon 8 Elite"),
            Chip("sm8845", 97, 81, "Snapdragon 8 Gen 5"),
            Chip("sm8850", 87, 81, "Snapdragon 8 Elite Gen 5"),
            Chip("sc8380xp", 60, 73, "Snapdragon X Elite"),
            Chip("qcs8550", 66, 73, "QCS8550 (robots, cameras)"),
            Chip("qcs9100", 77, 73, "QCS9100 (robots, industry)"),
            Chip("sa8255", 52, 73, "SA8255P (cars)"),
            Chip("sxr2230p", 53, 69, "Snapdragon XR2 Gen 2"),
            Chip("sxr2330p", 75, 79, "SXR2330P (headsets)"),
            Chip("ssg2115p", 46, 73, "Snapdragon AR1 Gen 1"),
            Chip("sm8350", 30, 68, "Snapdragon 888"),
            Chip("qcm6490", 93, 68, "QCM6490 (robots, cameras)"),
            Chip("sa8295", 39, 68, "SA8295P (cars)"),
        )
    }
)
SOCS = tuple(CHIPS)
"""Their names, the usual one first."""


def chip_for(soc: str, target: str) -> Chip:
    """The chip of that name.

    Raises UnsupportedTargetError for one without float16: a part of either target's arithmetic is in it.
    """
    chip = CHIPS[soc]
    if chip.arch < HALF:
        able = ", ".join(each.soc for each in CHIPS.values() if each.arch >= HALF)
        raise UnsupportedTargetError(
            f"{target}: {chip.soc} ({chip.product}) has a Hexagon v{chip.arch}, which computes in integers only; "
            "the network's ends would be in float16",
            hint=f"Chips that have it: {able}.",
        )
    return chip
