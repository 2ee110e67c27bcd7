"""Checking an artifact where it will run.

Its files, and whether this machine reproduces its golden vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import GraphDetections, RawMaps
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.backend import registry
from edgeyolo.backend.interface import Session
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.backend.versions import apart
from edgeyolo.errors import DamagedFileError, EdgeYoloError, GateError
from edgeyolo.runtime.agreement import MARGIN, Agreement, beyond_doubt, differences, in_image, matched
from edgeyolo.runtime.golden import GOLDEN, Golden, pixels_of, read_golden, weak_config
from edgeyolo.runtime.postprocess import Boxes, decode, postprocess
from edgeyolo.runtime.preprocess import Letterbox, preprocess

UNKNOWN = 1e-4  # the tolerance where neither the artifact nor its target states one


@dataclass(frozen=True)
class Verified:
    """Result of a verification.

    It has the number of files, the largest relative deviation from the golden values, how many golden detections were
    compared, and the runtime: the runtime itself, or its stand-in on a machine that does not have the runtime. `notes`
    says what is remarkable and no error: a runtime of another version than the one that made the artifact, a manifest
    without a hash of its own.
    """

    artifact: str
    sha256: str
    files: int
    deviation: float
    tolerance: float
    runtime: str
    notes: tuple[str, ...] = ()
    detections: int = 0

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)


def verify(path: str | Path) -> Verified:
    """Open the artifact, run its golden picture, and compare.

    The schema, its own hash and those of its files are checked first; compared are the values of its outputs, and the
    detections that its manifest makes of them.

    Raises:
        DamagedFileError: a file is missing, added or changed, or the golden picture gives another input tensor.
        RuntimeMissingError: the runtime is not here, or too old to load what a newer one made.
        GateError: this machine's runtime gives other values or detections than the one that made the artifact.
    """
    artifact = Artifact.open(path)
    manifest = artifact.manifest
    golden = read_golden(artifact.file(GOLDEN), manifest.input, manifest.output)
    backend = registry.backend_of(artifact)
    profile = next((item for item in backend.profiles if item.target == manifest.target), None)
    opened, runtime = registry.open_for_parity(artifact)
    with closing(opened) as session:
        deviation, tolerance = require_golden(manifest, golden, session, profile, str(artifact.path))
    other = apart(artifact, backend) if runtime == manifest.backend else None
    notes = [f"{other.sentence()}; it gives the same values"] if other else []
    if manifest.sha256 is None:
        notes.append(
            "its manifest has no hash of its own (it was made by an older edgeyolo), so what the manifest says, class "
            "names for one, cannot be proved; export the weights again for that"
        )
    return Verified(
        str(artifact.path), artifact.sha256, len(manifest.files), deviation, tolerance, runtime, tuple(notes),
        len(golden.found),
    )  # fmt: skip


def require_golden(
    manifest: Manifest, golden: Golden, session: Session, profile: TargetProfile | None, where: str
) -> tuple[float, float]:
    """Run the golden picture on a session and compare.

    `where` names the artifact in messages.

    Returns:
        The largest relative deviation, and what is allowed.

    Raises:
        DamagedFileError: the golden picture gives another input tensor here.
        GateError: the session gives other values than the export recorded.
    """
    tolerance = golden_tolerance(manifest, profile)
    batch, letterboxes = preprocess([golden.image] * manifest.input.batch, manifest.input)
    if np.abs(pixels_of(batch[0], manifest.input).astype(int) - golden.input).max() > 1:
        raise DamagedFileError(f"{where}: preprocessing gives another input tensor than the golden one")
    outputs = {name: each[:1] for name, each in session.run(batch).items()}
    found = _detected(manifest, where, outputs, letterboxes[:1], golden)
    agreed = _agreement(found, golden, weak_config(manifest.output, golden.conf).iou)
    offered = _before_suppression(outputs, found, letterboxes[0], golden, manifest)
    deviation = _deviation(outputs, offered, golden, agreed, manifest)
    _require(manifest, where, deviation=deviation, tolerance=tolerance, agreed=agreed, profile=profile)
    return deviation, tolerance


def golden_tolerance(manifest: Manifest, profile: TargetProfile | None) -> float:
    """Tolerance of the export, and no more than the target's.

    Another processor may take other kernels, never other answers.
    """
    stated = manifest.parity.tolerance if manifest.parity else UNKNOWN
    return min(stated, profile.parity) if profile else stated


def _detected(
    manifest: Manifest,
    where: str,
    outputs: Mapping[str, NDArray[Any]],
    letterboxes: list[Letterbox],
    golden: Golden,
) -> Boxes:
    output = manifest.output
    try:
        return postprocess(outputs, output, letterboxes, weak_config(output, golden.conf))[0]
    except EdgeYoloError as error:
        raise GateError(
            f"{where}: its manifest is not of what the file gives: {error.message}",
            hint="Copy the whole directory again, or export the weights again.",
        ) from error


def _agreement(found: Boxes, golden: Golden, iou: float) -> Agreement:
    """Share of detections on either side that the other side has.

    Those that a rounding may cost are not counted.
    """
    ours, theirs = beyond_doubt(found, golden.conf), beyond_doubt(golden.found, golden.conf)
    return matched(ours, golden.found, iou) + matched(theirs, found, iou)


def _before_suppression(
    outputs: Mapping[str, NDArray[Any]],
    found: Boxes,
    letterbox: Letterbox,
    golden: Golden,
    manifest: Manifest,
) -> Boxes:
    """Boxes among which the golden ones must be.

    They are candidates, as of two that score alike either suppresses the other; what was found where outputs show none.
    """
    output = manifest.output
    if not isinstance(output, RawMaps):
        return found
    config = weak_config(output, golden.conf * MARGIN)
    return in_image(decode(outputs, output, config, 0), letterbox)


def _deviation(
    outputs: Mapping[str, NDArray[Any]],
    offered: Boxes,
    golden: Golden,
    agreed: Agreement,
    manifest: Manifest,
) -> float:
    """Largest difference of outputs and detections, as part of an output.

    The part is of the largest output value.
    """
    apart_by = differences(offered, golden.found, max(golden.image.shape[:2]))
    if isinstance(manifest.output, GraphDetections):
        return max(apart_by.values()) if agreed.matched == agreed.detections else float("inf")
    worst, largest = 0.0, 1e-12
    for name, (index, expected) in golden.samples.items():
        values = outputs[name].ravel()
        if values.size <= int(index.max()):
            return float("inf")
        scale = max(float(np.abs(expected).max()), 1e-12)
        worst = max(worst, float(np.abs(values[index] - expected).max() / scale))
        largest = max(largest, scale)
    # A logit that is off by d moves a score by up to d / 4 and a corner by up to about d / 2 of the picture's side.
    return max(worst, max(apart_by.values()) / max(largest / 2, 1.0))


def _require(
    manifest: Manifest,
    where: str,
    *,
    deviation: float,
    tolerance: float,
    agreed: Agreement,
    profile: TargetProfile | None,
) -> None:
    made = f"Made with {dict(manifest.tools)}; `edgeyolo doctor` shows what is installed here."
    if not deviation <= tolerance:
        raise GateError(
            f"{where}: golden vectors are missed by {deviation:.3g} (relative); {tolerance:g} is allowed",
            hint=made,
        )
    least = profile.agreement if profile else 1.0
    if agreed.share is not None and agreed.share < least:
        raise GateError(
            f"{where}: of {agreed.detections} golden detections {agreed.share:.1%} are found; {least:.1%} are "
            "demanded",
            hint=made,
        )
