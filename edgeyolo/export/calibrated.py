"""What an INT8 export was calibrated on, for its manifest, and whether its target can do what the calibration asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeyolo.errors import UnsupportedTargetError, UsageError
from edgeyolo.protocols import CalibrationSource
from edgeyolo.targets import TargetProfile

if TYPE_CHECKING:
    from edgeyolo.export.pipeline import ExportOptions


def require_calibration(profile: TargetProfile, options: ExportOptions) -> None:
    """Raise UsageError where what the target is calibrated by is missing, UnsupportedTargetError where layers should
    stay in float and the target would forget it."""
    calibration, budget = options.calibration, options.ap_budget
    if budget is not None and options.data is None:
        raise UsageError(
            "an AP budget is kept on labelled images, and none were given", hint="Add --data DATA."
        )
    if profile.calibrated and calibration is None:
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


def record(calibration: CalibrationSource) -> dict[str, Any]:
    """`Manifest.calibration`."""
    return {
        "images": calibration.count,
        "images_sha256": calibration.sha256,
        "described": calibration.described,
        "floats": list(calibration.floats),
    }
