"""The edges of a file.

They are its input and output, put around a finished network.

They come last, behind float16 and quantizers, so that ranges are measured and precision is lowered in the network
alone: decoding and suppression stay float32 everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeyolo.artifact.contracts import GraphDetections
from edgeyolo.backend.interface import ExportSource
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.errors import UnsupportedTargetError, UsageError
from edgeyolo.runtime.postprocess_config import PostprocessConfig

if TYPE_CHECKING:
    import onnx


def require_edges(profile: TargetProfile, nms: PostprocessConfig | None, input: str | None) -> None:
    """Raise before any work where a target's file cannot have the edges asked for.

    `nms` are thresholds of suppression in the graph, None where it is the host's; `input` is "float", "uint8" or None.

    Raises:
        UnsupportedTargetError: the target cannot.
        UsageError: no target can.
    """
    if nms is not None and profile.refuses_nms:
        raise UnsupportedTargetError(
            f"{profile.target} cannot suppress in its graph: {profile.refuses_nms}",
            hint="Leave it to the host: --nms host.",
        )
    if nms is not None and (nms.multi_label or nms.agnostic or nms.classes is not None):
        raise UsageError("suppression in a graph: one class a box, all classes, each for itself")
    if input not in (None, "float", "uint8"):
        raise UsageError(f"input {input!r}: expected float or uint8")
    if input and input not in profile.inputs:
        possible = " or ".join(profile.inputs) or "what its toolchain settles"
        raise UnsupportedTargetError(
            f"{profile.target}: its file cannot take {input} input, only {possible}",
            hint="Leave out --input.",
        )


def takes_pixels(profile: TargetProfile, input: str | None) -> bool:
    """Return True if the file takes uint8 pictures.

    It does so by wish or by the target's preference.
    """
    return (input or next(iter(profile.inputs), "float")) == "uint8"


def graph_detections(nms: PostprocessConfig | None, classes: int) -> GraphDetections | None:
    """Output contract of a file that suppresses by these thresholds.

    None where suppression is the host's.
    """
    return None if nms is None else GraphDetections(classes, nms.conf, nms.iou, nms.max_det)


def with_graph_ends(
    model: onnx.ModelProto, source: ExportSource, *, tensorrt: bool = False
) -> onnx.ModelProto:
    """A network whose contracts are those of `edge_contracts(source)`.

    It starts as one of the contracts `source.input` and `source.output`.

    With `tensorrt`, in operators that TensorRT's parser takes, its plugin for suppression among them.
    """
    from edgeyolo.export.graph_ends.nms import with_suppression
    from edgeyolo.export.graph_ends.uint8_input import with_pixels

    if source.detections:
        model = with_suppression(model, source.output, source.detections, source.input, plugin=tensorrt)
    if source.pixels:
        model = with_pixels(model, source.input, by_cast=tensorrt)
    return model
