"""The INT8 form of an ONNX file for ONNX Runtime on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeyolo.contracts import InputContract
from edgeyolo.protocols import CalibrationSource
from edgeyolo_calib.observe import observe
from edgeyolo_calib.qdq import quantize
from edgeyolo_calib.record import write_record
from edgeyolo_calib.rules import ONNXRUNTIME

FILES = ("model.onnx", "calibration.json")


def write_int8(
    model: Path, contract: InputContract, calibration: CalibrationSource, into: Path
) -> tuple[str, ...]:
    """Measure ranges on the images, put quantizers into `model`, and write it with a record of the ranges.

    Returns the names of the files in `into`. The same model and images give the same bytes.
    """
    import onnx

    # Ranges are taken from single images; a network of any batch then runs one at a time.
    seen = replace(contract, batch=1) if contract.dynamic_batch else contract
    statistics = observe(model, seen, calibration)
    made = quantize(onnx.load(model), statistics, ONNXRUNTIME, pixels=255 * contract.scale)
    (into / FILES[0]).write_bytes(made.model.SerializeToString(deterministic=True))
    write_record(into / FILES[1], statistics, ONNXRUNTIME, made)
    return FILES
