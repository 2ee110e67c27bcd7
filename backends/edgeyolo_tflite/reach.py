"""Ranges that spend integers where later operators tell values apart.

They end where a sigmoid or SiLU is flat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeyolo.backend.profile import MAP_REACH
from edgeyolo_tflite import flatbuffer

Ranges = Mapping[str, tuple[float, float]]
"""The smallest and the largest value of each activation tensor, by name."""


def within_reach(model: bytes, ranges: Ranges) -> dict[str, tuple[float, float]]:
    """The ranges without what the function behind them does not tell apart.

    Integers are spent where it is not flat.

    Raw maps are cut to +-MAP_REACH. Decoding takes the sigmoid of every raw value, and has hardly anything left to tell
    apart there, but background reaches to -40: eight bits from end to end would leave too few of them for what is
    detected (yolov7-tiny-silu on scenes: 3.6 AP points lost, 0.9 with the cut). What SiLU takes is cut below, where
    SiLU stays within half a step of zero: convolutions reach down to -20, of which nothing below about -5 is left.
    """
    tree = flatbuffer.read(model)
    outputs = {flatbuffer.name(each) for each in flatbuffer.tensors(tree, tree.subgraphs[0].outputs)}
    cut = {
        name: (max(low, -MAP_REACH), min(high, MAP_REACH)) if name in outputs else (low, high)
        for name, (low, high) in ranges.items()
    }
    for taken, given in _silus(tree).items():
        if taken in cut and given in ranges:
            low, high = ranges[given]
            cut[taken] = (max(cut[taken][0], flat_below((high - low) / 255)), cut[taken][1])
    return cut


def flat_below(step: float) -> float:
    """The x below which SiLU is nearer to zero than half a step.

    A quantizer of that step gives 0 there.
    """
    x = np.linspace(-20.0, -1.3, 1871)
    flat = x[np.abs(x / (1 + np.exp(-x))) <= step / 2]
    return float(flat.max(initial=-20.0))


def _silus(model: Any) -> dict[str, str]:
    """Input of each SiLU (LOGISTIC and MUL) -> its output."""
    sigmoid: dict[int, int] = {}
    found = {}
    for kind, operator in flatbuffer.operators(model):
        if kind == "LOGISTIC":
            sigmoid[operator.outputs[0]] = operator.inputs[0]
        elif kind == "MUL":
            one, other = operator.inputs
            for x, s in ((one, other), (other, one)):
                if sigmoid.get(s) == x:
                    taken, given = flatbuffer.tensors(model, [x, operator.outputs[0]])
                    found[flatbuffer.name(taken)] = flatbuffer.name(given)
    return found
