"""An ONNX file in, one with quantizers and a record of their ranges out.

The INT8 backends of ours write it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.artifact.learned_ranges import LearnedRanges
from edgeyolo.backend.interface import CalibrationSource, ExportSource
from edgeyolo.errors import UsageError
from edgeyolo_calib.onnx_graph import Graph, stable_names
from edgeyolo_calib.quantize.qdq import Quantized, assemble, quantize
from edgeyolo_calib.quantize.record import describe, describe_ranges, write_record
from edgeyolo_calib.quantize.rules import Rules, place
from edgeyolo_calib.quantize.schemes import settle_scheme
from edgeyolo_calib.ranges.observe import observe
from edgeyolo_calib.ranges.ranges import Scheme
from edgeyolo_calib.ranges.statistics import Origin

RECORD = "calibration.json"


def quantize_source(model: Path, source: ExportSource, rules: Rules, into: Path) -> Quantized:
    """Quantizers from what the source has.

    Ranges that training learned, else calibration images.

    Raises UsageError where it has neither.
    """
    if source.learned:
        return quantize_learned(model, source.input, source.learned, rules, into)
    if source.calibration is None:
        raise UsageError("integers need calibration images, and none were given", hint="Add --calib DATA.")
    return quantize_file(model, source.input, source.calibration, rules, into)


def quantize_file(
    model: Path, contract: InputContract, calibration: CalibrationSource, rules: Rules, into: Path
) -> Quantized:
    """Measure ranges on the images and quantize a network.

    Quantizers are placed by `rules`; the record `calibration.json` is written to `into`.

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
    write_record(into / RECORD, describe(statistics, rules, made))
    return made


def quantize_learned(
    model: Path, contract: InputContract, learned: LearnedRanges, rules: Rules, into: Path
) -> Quantized:
    """Quantize a network with the ranges that training learned.

    Quantizers are placed by `rules`; the record is written to `into`.

    Weights get the levels that training had: each its nearest. Raises UsageError where training
    was for other rules, or for another network.
    """
    import onnx

    graph = Graph(onnx.load(model))
    placement, names = place(graph, rules), stable_names(graph)
    found = learned.sets.get(rules.trained_as)
    if found is None:
        raise UsageError(
            f"the weights were trained for the quantizers of {', '.join(learned.sets)}, not of {rules.trained_as}",
            hint="Train again with --qat, or measure ranges (edgeyolo calibrate) and give them with --ranges.",
        )
    if missing := [names[name] for name in placement.tensors if names[name] not in found]:
        raise UsageError(
            f"the ranges that the weights bring lack {len(missing)} tensors, for example {missing[0]}",
            hint="Train again with --qat, or measure ranges (edgeyolo calibrate) and give them with --ranges.",
        )
    ranges = {name: found[names[name]] for name in placement.tensors}
    origin = Origin("", learned.sha256, learned.images, learned.described, contract.size)
    made = assemble(graph, placement, ranges, rules, Scheme("learned"), origin=origin)
    write_record(into / RECORD, describe_ranges(origin, rules, made))
    return made
