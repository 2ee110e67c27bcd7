"""What a network is built to take and compared on, from what the user asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeyolo.contracts import InputContract, RawMaps
from edgeyolo.errors import UsageError
from edgeyolo.images import read_image
from edgeyolo.scenes import make_scene
from edgeyolo.targets import TargetProfile

if TYPE_CHECKING:
    from edgeyolo.export.pipeline import ExportOptions
    from edgeyolo.models.topology import ModelSpec

COMPARED = 4  # pictures of a data set or a calibration: enough boxes to agree on, a second or two on the large networks


def input_contract(spec: ModelSpec, profile: TargetProfile, options: ExportOptions) -> InputContract:
    """The network's own input for these options; UsageError where a size, batch or opset cannot be."""
    height, width = options.size or (spec.imgsz, spec.imgsz)
    coarsest = max(spec.strides)
    if height % coarsest or width % coarsest or min(height, width) < coarsest:
        near = [max(coarsest, round(side / coarsest) * coarsest) for side in (height, width)]
        raise UsageError(
            f"image size {height}x{width}: {spec.name} takes multiples of {coarsest}",
            hint=f"The nearest is --imgsz {near[0]}x{near[1]}.",
        )
    if options.batch < 1:
        raise UsageError(f"batch {options.batch}: expected at least 1")
    if options.opset is not None and profile.opset is None:
        raise UsageError(
            f"{profile.target} is not made from ONNX: it has no opset", hint="Leave out --opset."
        )
    return InputContract(height, width, options.batch, dynamic_batch=options.dynamic_batch)


def network_maps(spec: ModelSpec, classes: int) -> RawMaps:
    """What the network itself gives: p3, p4 ... by the logarithm of the stride."""
    names = tuple(f"p{stride.bit_length() - 1}" for stride in spec.strides)
    return RawMaps(names, spec.strides, spec.anchors, classes)


def comparison_pictures(options: ExportOptions) -> tuple[list[NDArray[np.uint8]], str]:
    """What an artifact is compared with torch on, BGR pictures, and the words for what they are.

    Photographs that were given, else some labelled images, else some that it is calibrated on, else generated ones.
    """
    labelled = [sample.path for sample in (options.data.images if options.data else ())[:COMPARED]]
    if files := options.images or labelled:
        return [read_image(path) for path in files], f"{len(files)} photographs"
    if options.calibration and (calibrated := options.calibration.pictures(COMPARED)):
        return calibrated, f"{len(calibrated)} pictures of the calibration"
    return [make_scene(seed).image for seed in range(3)], "3 generated pictures"
