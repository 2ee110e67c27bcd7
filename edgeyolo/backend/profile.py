"""Target profiles: what a target takes and promises."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeyolo.artifact.target import Target
    from edgeyolo.backend.capabilities import Limits

MAP_REACH = 6.0
"""Reach of raw maps in integers on either side of zero: sigmoid(6) is 0.9975."""


@dataclass(frozen=True)
class TargetProfile:
    """Precision, budgets and preferences of a target.

    `parity` is the largest deviation of a raw head map from torch that an export may show, relative to the largest
    absolute value of that map, and `reach` how far from zero differences count (decoding takes the sigmoid of each
    value); `agreement` the least share of confident detections that must have a counterpart (same class, IoU 0.5) on
    the other side: floats lose one at the threshold's edge (of 1312 blood cells in Core ML's float16 none, of 498 boxes
    of random weights four); integers state a budget of their own. `calibrated` targets are quantized from calibration
    images; those that `take_ranges` need none where training learned the ranges. `mixed` ones can leave single layers
    in float; `unmixed` says why others cannot.

    `inputs` are what a file may take, at the user's choice and the first where nothing is chosen: "float" (RGB planes)
    or "uint8" (BGR, channels last); empty where the backend settles it. `refuses_nms` says why suppression cannot be
    part of the file, and is "" where it can. `note` is one line for the table of targets.

    `socs` are the chips that an artifact can be compiled for, the usual one first; empty where it is for any. The
    stand-in of an `emulated` target takes seconds an image: few are compared, and each is reported.
    """

    target: Target
    note: str
    parity: float
    agreement: float = 0.99
    reach: float = math.inf
    calibrated: bool = False
    mixed: bool = False
    unmixed: str = ""
    take_ranges: bool = False
    dynamic_batch: bool = False
    dynamic_size: bool = False
    inputs: tuple[str, ...] = ()
    refuses_nms: str = "its backend puts none into the graph"
    files: tuple[str, ...] = ()
    socs: tuple[str, ...] = ()
    emulated: bool = False
    opset: int | None = (
        None  # the ONNX opset the backend compiles from; None where it starts from the network
    )
    limits: Limits | None = None  # what the target takes; None where nothing is known
