"""What an INT8 export was calibrated on, for its manifest, and whether its target can do what the calibration asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeyolo.errors import UnsupportedTargetError, UsageError
from edgeyolo.learned_ranges import LearnedRanges
from edgeyolo.protocols import CalibrationSource
from edgeyolo.targets import TargetProfile

if TYPE_CHECKING:
    from edgeyolo.export.pipeline import ExportOptions


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
    """Raise UsageError where what the target is calibrated by is missing, UnsupportedTargetError where layers should
    stay in float and the target would forget it."""
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
    if profile.mixed or (budget is None and not floats):
        return
    what = f"{len(floats)} layers should stay in float" if floats else "an AP budget was given"
    raise UnsupportedTargetError(
        f"{what}, and {profile.target} cannot leave single layers in float",
        hint="Leave out --ap-budget, and --ranges of a calibration with one; or take a target that mixes: "
        "cpu-onnx-int8, cpu-openvino-int8, or one of the -trt-int8 ones.",
    )


def record(calibration: CalibrationSource | None, learned: LearnedRanges | None) -> dict[str, Any] | None:
    """`Manifest.calibration`: of the ranges that the export was made from; None where it was made from none."""
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
