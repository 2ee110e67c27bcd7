"""Record of an artifact's calibration.

The images, the method, and each tensor's range, scale and saturation.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeyolo_calib.quantize.qdq import Quantized
from edgeyolo_calib.quantize.rules import Rules
from edgeyolo_calib.ranges.histogram import Histogram
from edgeyolo_calib.ranges.statistics import Origin, Statistics

SCHEMA = "edgeyolo-calibration/1"


def describe(statistics: Statistics, rules: Rules, made: Quantized) -> dict[str, Any]:
    """The record as a JSON object.

    `cut` is the share of a tensor's values that lie outside its range by more than rounding would change
    them: half a step.
    """
    record = describe_ranges(statistics.origin, rules, made)
    for name, tensor in record["tensors"].items():
        half = tensor["scale"] / 2
        tensor["cut"] = cut_share(statistics.tensors[name], tensor["low"] - half, tensor["high"] + half)
    return record | {"tried": statistics.tried}


def describe_ranges(origin: Origin, rules: Rules, made: Quantized) -> dict[str, Any]:
    """The same without `cut`, for ranges that no statistics stand behind."""
    tensors = {}
    for name, (low, high) in made.ranges.items():
        scale, zero = rules.grid.place(low, high)
        tensors[name] = {
            "low": low,
            "high": high,
            "scale": float(scale),
            "zero_point": zero,
            "group": made.placement.tensors[name],
        }
    return {
        "schema": SCHEMA,
        "images": {"count": origin.count, "sha256": origin.images, "described": origin.described},
        "rules": rules.name,
        "scheme": asdict(made.scheme),
        "tensors": tensors,
        "floats": list(made.placement.floats),
    }


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write the record as JSON."""
    text = json.dumps(record, indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def cut_share(histogram: Histogram, low: float, high: float) -> float:
    """The share of the counted values that lie outside low..high."""
    centres, counts = histogram.centres()
    outside = counts[(centres < low) | (centres > high)].sum()
    return float(outside / counts.sum()) if counts.size else 0.0
