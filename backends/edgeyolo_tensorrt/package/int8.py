"""The INT8 form of a package's graph.

Q/DQ operators stand where TensorRT fuses them into its kernels.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from edgeyolo.backend.interface import ExportSource
from edgeyolo.errors import DamagedFileError

if TYPE_CHECKING:
    import onnx


CACHE = "calibration.cache"
HEADER = "TRT-8601-EntropyCalibration2"
_LEVELS = 127.0


def cache_text(ranges: Mapping[str, tuple[float, float]]) -> str:
    """The file's text from each tensor's (low, high).

    A scale is the larger side over 127, as TensorRT's is.
    """
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


def write_quantized(model: onnx.ModelProto, source: ExportSource, into: Path) -> onnx.ModelProto:
    """The graph with quantizers.

    Writes `calibration.json` and `calibration.cache` to `into`.

    Raises UsageError with neither calibration images nor ranges that training learned.
    """
    from edgeyolo_calib.quantize.rules import TENSORRT
    from edgeyolo_calib.quantize.write import quantize_source

    with TemporaryDirectory(prefix="edgeyolo-") as folder:
        exported = Path(folder) / "float.onnx"
        exported.write_bytes(model.SerializeToString(deterministic=True))
        made = quantize_source(exported, source, TENSORRT, into)
    (into / CACHE).write_text(cache_text(made.ranges), encoding="ascii")
    return made.model
