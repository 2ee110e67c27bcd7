"""What a network is built to take, from what the user asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeyolo.contracts import InputContract
from edgeyolo.errors import UsageError
from edgeyolo.targets import TargetProfile

if TYPE_CHECKING:
    from edgeyolo.export.pipeline import ExportOptions
    from edgeyolo.models.topology import ModelSpec


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


def photographs(options: ExportOptions) -> tuple[Path, ...]:
    """What an artifact is compared with torch on: what was given, else some labelled images; none: generated ones."""
    return options.images or tuple(
        sample.path for sample in (options.data.images if options.data else ())[:4]
    )
