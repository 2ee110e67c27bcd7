"""The INT8 form of a package's graph: Q and DQ where TensorRT fuses them into its kernels."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from edgeyolo.errors import UsageError
from edgeyolo.protocols import ExportSource
from edgeyolo.targets import Target
from edgeyolo_tensorrt.calibration_cache import CACHE, cache_text

if TYPE_CHECKING:
    import onnx


def write_quantized(
    model: onnx.ModelProto, source: ExportSource, target: Target, into: Path
) -> onnx.ModelProto:
    """The graph with quantizers; writes `calibration.json` and `calibration.cache` to `into`.

    Raises UsageError without calibration images.
    """
    from edgeyolo_calib.rules import TENSORRT
    from edgeyolo_calib.write import quantize_file

    if source.calibration is None:
        raise UsageError(
            f"{target}: integers need calibration images, and none were given", hint="Add --calib DATA."
        )
    with TemporaryDirectory(prefix="edgeyolo-") as folder:
        exported = Path(folder) / "float.onnx"
        exported.write_bytes(model.SerializeToString(deterministic=True))
        made = quantize_file(exported, source.input, source.calibration, TENSORRT, into)
    (into / CACHE).write_text(cache_text(made.ranges), encoding="ascii")
    return made.model
