"""Steps of ncnn's integers, from our own calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeyolo.backend.interface import ExportSource
from edgeyolo_ncnn.convert import Steps


def steps_of(model: Path, source: ExportSource, into: Path) -> dict[str, Steps]:
    """Steps of every convolution in integers, by the node's name.

    Writes `calibration.json` to `into`.

    Raises UsageError where there are no calibration images.
    """
    import onnx

    from edgeyolo_calib.quantize.rules import NCNN
    from edgeyolo_calib.quantize.write import quantize_source
    from edgeyolo_calib.ranges.ranges import weight_scales

    made = quantize_source(model, source, NCNN, into)
    graph = onnx.load(model).graph
    constants = {each.name: each for each in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type == "Conv" and node.name in made.placement.nodes:
            weight = onnx.numpy_helper.to_array(constants[node.input[1]]).astype(np.float32)
            taken, _ = NCNN.grid.place(*made.ranges[node.input[0]])
            found[node.name] = Steps(float(taken), weight_scales(weight))
    return found
