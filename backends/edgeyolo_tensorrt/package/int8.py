"""The INT8 form of a package's graph: Q and DQ where TensorRT fuses them into its kernels."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from edgeyolo.protocols import ExportSource
from edgeyolo_tensorrt.calibration_cache import CACHE, cache_text

if TYPE_CHECKING:
    import onnx


def write_quantized(model: onnx.ModelProto, source: ExportSource, into: Path) -> onnx.ModelProto:
    """The graph with quantizers; writes `calibration.json` and `calibration.cache` to `into`.

    Raises UsageError with neither calibration images nor ranges that training learned.
    """
    from edgeyolo_calib.rules import TENSORRT
    from edgeyolo_calib.write import quantize_source

    with TemporaryDirectory(prefix="edgeyolo-") as folder:
        exported = Path(folder) / "float.onnx"
        exported.write_bytes(model.SerializeToString(deterministic=True))
        made = quantize_source(exported, source, TENSORRT, into)
    (into / CACHE).write_text(cache_text(made.ranges), encoding="ascii")
    return made.model
