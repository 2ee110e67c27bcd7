"""Judges of an export, and the refusal of one that nothing judged."""

from __future__ import annotations

from edgeyolo.artifact.contracts import GraphDetections
from edgeyolo.artifact.manifest import Accuracy, Manifest, Parity
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.errors import GateError

LEAST_DETECTIONS = 10
"""Confident detections, of both sides together, that a comparison with torch must have found. Of fewer, one that is
lost is either no loss worth a word or beyond every budget."""


def can_fail(accuracy: Accuracy | None) -> bool:
    """Tell if AP was measured, with more of it to lose than is allowed."""
    return accuracy is not None and 100 * accuracy.reference > accuracy.allowed


def missing_judge(
    manifest: Manifest, parity: Parity, accuracy: Accuracy | None, profile: TargetProfile
) -> str:
    """Reason for which nothing judged the export; "" where something did.

    Floats are judged by their raw maps, in any picture. What integers cost is seen in detections or in AP only, and
    suppression in a graph in detections only.
    """
    if accuracy is not None and accuracy.reference <= 0:
        return f"AP was measured on nothing: on {accuracy.data} the network itself finds nothing that is labelled"
    in_graph = isinstance(manifest.output, GraphDetections)
    if not (profile.calibrated or in_graph) or parity.detections >= LEAST_DETECTIONS or can_fail(accuracy):
        return ""
    measured = ""
    if accuracy is not None:
        measured = (
            f", and on {accuracy.data} the network itself has an AP of {100 * accuracy.reference:.2f} points, no more "
            f"than the {accuracy.allowed:g} that may be lost"
        )
    what = "suppression in the graph" if in_graph and not profile.calibrated else "what integers cost"
    return (
        f"{what} was judged by nothing: the network finds {parity.detections} objects in {parity.images}, "
        f"{LEAST_DETECTIONS} are the least{measured}"
    )


def require_judged(reason: str, target: str, *, unjudged: bool) -> None:
    """Raise GateError where nothing judged the export, unless that was asked for."""
    if reason and not unjudged:
        raise GateError(
            f"{target}: {reason}",
            hint="Nothing was written. Give labelled images (--data DATA) or photographs of what the network finds "
            "(--images PHOTOS); --unjudged exports all the same, and the manifest records it.",
        )
