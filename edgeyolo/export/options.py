"""Options of an export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.backend.quantizer_options import DEFAULTS, QuantizerOptions
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.runtime.postprocess_config import PostprocessConfig

if TYPE_CHECKING:
    from edgeyolo.datasets import Dataset

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import MAX_BATCH, InputContract, RawMaps
from edgeyolo.artifact.learned_ranges import LearnedRanges
from edgeyolo.artifact.trained_size import Size
from edgeyolo.errors import UnsupportedTargetError, UsageError
from edgeyolo.runtime.images import read_image
from edgeyolo.support.nearest import nearest

if TYPE_CHECKING:
    from edgeyolo.models.network_spec import Spec


COMPARED_AT_MOST = 32  # where few show too little to judge by
COMPARED_EMULATED = 8  # by an emulator that takes seconds an image
COMPARED = 4  # pictures of a data set or a calibration: enough boxes to agree on, a second or two on the large networks


def input_contract(
    spec: Spec, profile: TargetProfile, options: ExportOptions, trained: Size | None
) -> InputContract:
    """The network's own input for these options.

    Where no size is asked for it is the one that the network was trained at or, where that is not known, the paper's.
    UsageError where a size, batch or opset cannot be.
    """
    height, width = options.size or trained or (spec.imgsz, spec.imgsz)
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
    if options.dynamic_batch and options.max_batch < 2:
        raise UsageError(f"a dynamic batch of at most {options.max_batch}: expected at least 2")
    return InputContract(
        height, width, options.batch, dynamic_batch=options.dynamic_batch, max_batch=options.max_batch
    )


def network_maps(spec: Spec, classes: int) -> RawMaps:
    """Contract of the network's raw maps.

    p3, p4 ... by the logarithm of the stride.
    """
    names = tuple(f"p{stride.bit_length() - 1}" for stride in spec.strides)
    return RawMaps(names, spec.strides, spec.anchors, classes)


def chosen_soc(profile: TargetProfile, asked: str | None) -> str:
    """The chip to compile for; "" where the target's artifacts are for any.

    UsageError for a chip that the target does not know.
    """
    if not asked:
        return profile.socs[0] if profile.socs else ""
    if not profile.socs:
        raise UsageError(
            f"--soc {asked}: {profile.target} is not compiled for one chip", hint="Leave out --soc."
        )
    soc = asked.strip().lower()
    if soc not in profile.socs:
        near = nearest(soc, profile.socs, cutoff=0.5)
        meant = f"Did you mean {', '.join(near)}? " if near else ""
        raise UsageError(
            f"--soc {asked}: {profile.target} does not know this chip",
            hint=f"{meant}It knows {', '.join(profile.socs)}.",
        )
    return soc


def comparison_pictures(options: ExportOptions, count: int = COMPARED) -> tuple[list[NDArray[np.uint8]], str]:
    """BGR pictures for the comparison with torch, and a description of them.

    Photographs that were given, else `count` labelled images, else as many that it is calibrated on, else generated
    ones.
    """
    labelled = [sample.path for sample in (options.data.images if options.data else ())[:count]]
    if files := options.images or labelled:
        return [read_image(path) for path in files], f"{len(files)} photographs"
    if options.calibration and (calibrated := options.calibration.pictures(count)):
        return calibrated, f"{len(calibrated)} pictures of the calibration"
    return [make_scene(seed).image for seed in range(3)], "3 generated pictures"


def learned_for(
    ranges: LearnedRanges | None, profile: TargetProfile, options: ExportOptions
) -> LearnedRanges | None:
    """The ranges that training learned, for targets that take them.

    Ranges that were measured since then come first, and a budget is kept by measuring.
    """
    measured = options.calibration is not None and options.calibration.ranges is not None
    return None if measured or options.ap_budget is not None or not profile.take_ranges else ranges


def require_calibration(
    profile: TargetProfile, options: ExportOptions, learned: LearnedRanges | None = None
) -> None:
    """Raise for missing or impossible calibration.

    UsageError where what the target is calibrated by is missing, UnsupportedTargetError where layers should
    stay in float and the target would forget it.
    """
    calibration, budget = options.calibration, options.ap_budget
    if budget is not None and options.data is None:
        raise UsageError(
            "an AP budget is kept on labelled images, and none were given", hint="Add --data DATA."
        )
    if profile.calibrated and calibration is None and learned is None:
        raise UsageError(
            f"{profile.target} is quantized from images, and none were given", hint="Add --calib DATA."
        )
    floats = calibration.floats if profile.calibrated and calibration else ()
    if budget is not None or floats:
        what = f"{len(floats)} layers should stay in float" if floats else "an AP budget was given"
        require_mixed(profile, what)


def require_mixed(profile: TargetProfile, asked: str) -> None:
    """Raise UnsupportedTargetError for a target without float layers.

    The message says why; `asked` is what would need them.
    """
    if profile.mixed:
        return
    reason = f": {profile.unmixed}" if profile.unmixed else ""
    raise UnsupportedTargetError(
        f"{asked}, and {profile.target} cannot leave single layers in float{reason}",
        hint="Leave out --ap-budget, and --ranges of a calibration with one; or take a target that mixes: "
        "cpu-onnx-int8, cpu-openvino-int8, cpu-tflite-int8, cpu-ncnn-int8, hexagon-qnn-int8, or one of the "
        "-trt-int8 ones.",
    )


def record(calibration: CalibrationSource | None, learned: LearnedRanges | None) -> dict[str, Any] | None:
    """Record of the ranges that the export was made from.

    None where it was made from none.
    """
    if learned:
        return {
            "images": learned.images,
            "images_sha256": learned.sha256,
            "described": learned.described,
            "floats": [],
        }
    if calibration is None:
        return None
    return {
        "images": calibration.count,
        "images_sha256": calibration.sha256,
        "described": calibration.described,
        "floats": list(calibration.floats),
    }


@dataclass(frozen=True)
class ExportOptions:
    """User's choices for an export.

    Attributes:
        size: (height, width) in pixels, by default that of the training or, where it is not known, the paper's.
        batch: images at a time, from 1.
        dynamic_batch: take any number of images at a time, up to `max_batch`.
        max_batch: how far a dynamic batch goes.
        images: photographs for the parity check, by default some of `data`, else of `calibration`, else generated.
        calibration: images or ranges that INT8 targets need.
        data: labelled images to measure AP on.
        max_ap_drop: AP points (hundredths) that may be lost on `data`.
        ap_budget: AP points that may be lost on `data` before layers are left in float; None leaves none.
        refine: change the network for the sake of its integers where the calibration images show that it pays.
        quantizer: options of runtimes that have a quantizer of their own.
        overwrite: replace an artifact that is already there.
        nms: thresholds of decoding and suppression in the file; None leaves both to the host.
        input: "uint8" for preprocessing in the file, "float" for none, None for the faster one on the target.
        opset: of the ONNX file that is made or converted, by default the target's own.
        soc: the chip to compile for, of those that the target's profile names; None takes its first.
        unjudged: let an export pass that too few detections, and no AP, can judge; its manifest records it.
    """

    size: tuple[int, int] | None = None
    batch: int = 1
    dynamic_batch: bool = False
    max_batch: int = MAX_BATCH
    images: tuple[Path, ...] = ()
    calibration: CalibrationSource | None = None
    data: Dataset | None = None
    max_ap_drop: float = 1.0
    ap_budget: float | None = None
    refine: bool = False
    quantizer: QuantizerOptions = DEFAULTS
    overwrite: bool = False
    nms: PostprocessConfig | None = None
    input: str | None = None
    opset: int | None = None
    soc: str | None = None
    unjudged: bool = False
