"""An ONNX file in, one with quantizers and a record of their ranges out: what INT8 backends of ours write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeyolo.contracts import InputContract
from edgeyolo.protocols import CalibrationSource
from edgeyolo_calib.observe import observe
from edgeyolo_calib.qdq import Quantized, quantize
from edgeyolo_calib.record import write_record
from edgeyolo_calib.rules import Rules
from edgeyolo_calib.schemes import settle_scheme

RECORD = "calibration.json"


def quantize_file(
    model: Path, contract: InputContract, calibration: CalibrationSource, rules: Rules, into: Path
) -> Quantized:
    """Measure ranges on the images, place quantizers by `rules`, and write the record `calibration.json` to `into`.

    The same model and images give the same bytes. Raises what `observe` and `quantize` do.
    """
    import onnx

    # Ranges are taken from single images; a network of any batch then runs one at a time.
    seen = replace(contract, batch=1) if contract.dynamic_batch else contract
    statistics = observe(model, seen, calibration, keep=calibration.ranges)
    scheme = settle_scheme(model, seen, statistics, rules, calibration)
    made = quantize(
        onnx.load(model), statistics, rules, scheme,
        pixels=255 * contract.scale, floats=statistics.floats,
    )  # fmt: skip
    write_record(into / RECORD, statistics, rules, made)
    return made
