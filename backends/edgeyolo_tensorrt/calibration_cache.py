"""The calibration cache of TensorRT 8 to 10: the same ranges for people who build with an int8 calibrator.

Explicit quantization (Q/DQ in the graph) is what our packages build with; calibrators are gone from TensorRT 11. But
tool chains that take a float ONNX file and a cache, such as `trtexec --int8 --calib=calibration.cache` or DeepStream,
get the same scales with it. One line a tensor: its name and the scale's float32 bits in hexadecimal, big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from edgeyolo.errors import DamagedFileError

CACHE = "calibration.cache"
HEADER = "TRT-8601-EntropyCalibration2"
_LEVELS = 127.0


def cache_text(ranges: Mapping[str, tuple[float, float]]) -> str:
    """The file's text from each tensor's (low, high); a scale is the larger side over 127, as TensorRT's is."""
    lines = [HEADER]
    for name, (low, high) in ranges.items():
        if ":" in name or "\n" in name:
            raise DamagedFileError(f"tensor {name!r}: a calibration cache cannot hold this name")
        scale = max(abs(low), abs(high)) / _LEVELS
        lines.append(f"{name}: {struct.pack('>f', scale).hex()}")
    return "\n".join(lines) + "\n"


def read_cache(text: str) -> dict[str, float]:
    """Each tensor's scale; anything that is no cache raises DamagedFileError."""
    header, *lines = text.splitlines() or [""]
    if not header.startswith("TRT-"):
        raise DamagedFileError(f"not a calibration cache: it starts with {header[:40]!r}, not with 'TRT-'")
    scales = {}
    for number, line in enumerate(lines, start=2):
        name, _, bits = line.rpartition(": ")
        try:
            (scales[name],) = struct.unpack(">f", bytes.fromhex(bits))
        except (ValueError, struct.error) as error:
            raise DamagedFileError(f"calibration cache, line {number}: {error}") from error
    return scales
