"""Checking an artifact where it will run.

Its files, and whether this machine reproduces its golden vectors.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import GraphDetections
from edgeyolo.backend import registry
from edgeyolo.backend.versions import apart
from edgeyolo.errors import DamagedFileError, GateError
from edgeyolo.runtime.agreement import beyond_doubt, differences, matched
from edgeyolo.runtime.postprocess import Boxes, postprocess
from edgeyolo.runtime.postprocess_config import settle
from edgeyolo.runtime.preprocess import preprocess


@dataclass(frozen=True)
class Verified:
    """Result of a verification.

    It has the number of files, the largest relative deviation from the golden values, and the runtime: the
    runtime itself, or its stand-in on a machine that does not have the runtime. `notes` says what is
    remarkable and no error: a runtime of another version than the one that made the artifact.
    """

    artifact: str
    sha256: str
    files: int
    deviation: float
    tolerance: float
    runtime: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)


def verify(path: str | Path) -> Verified:
    """Open the artifact (schema and SHA-256), then run its golden picture and compare.

    Raises:
        DamagedFileError: a file is missing, added or changed, or the golden picture gives another input tensor.
        RuntimeMissingError: the runtime is not here, or too old to load what a newer one made.
        GateError: this machine's runtime gives other values than the one that made the artifact.
    """
    artifact = Artifact.open(path)
    manifest = artifact.manifest
    # The tolerance is the export's own: another processor may take other kernels, never other answers.
    tolerance = manifest.parity.tolerance if manifest.parity else 1e-4
    opened, runtime = registry.open_for_parity(artifact)
    with np.load(artifact.file("golden.npz")) as golden, closing(opened) as session:
        batch, letterboxes = preprocess([golden["image"]] * manifest.input.batch, manifest.input)
        expected = golden["input"].astype(np.float32)
        pixels = batch[0].transpose(1, 2, 0) if manifest.input.layout == "NCHW" else batch[0]
        scale = manifest.input.scale if batch.dtype.kind == "f" else 1
        if np.abs(pixels.astype(np.float32) - expected * scale).max() > 1.5 * scale:
            raise DamagedFileError(
                f"{artifact.path}: preprocessing gives another input tensor than the golden one"
            )
        outputs = session.run(batch)
        if not isinstance(manifest.output, GraphDetections):
            deviation = max(_deviation(outputs[name][0], golden, name) for name in manifest.output.names)
        else:
            found = postprocess(outputs, manifest.output, letterboxes[:1], settle(manifest.output))[0]
            deviation = _differing(found, golden, manifest.output.conf)
    if not deviation <= tolerance:
        raise GateError(
            f"{artifact.path}: golden vectors are missed by {deviation:.3g} (relative); {tolerance:g} is allowed",
            hint=f"Made with {dict(manifest.tools)}; `edgeyolo doctor` shows what is installed here.",
        )
    other = apart(artifact, registry.backend_of(artifact)) if runtime == manifest.backend else None
    notes = (f"{other.sentence()}; it gives the same values",) if other else ()
    return Verified(
        str(artifact.path), artifact.sha256, len(manifest.files), deviation, tolerance, runtime, notes
    )


def _differing(found: Boxes, golden: Any, conf: float) -> float:
    """The largest difference of scores and corners from the golden detections.

    Infinite where one is missing.
    """
    expected = Boxes(golden["xyxy"], golden["confidence"], golden["class_id"])
    both = matched(beyond_doubt(found, conf), expected) + matched(beyond_doubt(expected, conf), found)
    if both.matched != both.detections:
        return float("inf")
    return max(differences(expected, found, max(golden["image"].shape[:2])).values())


def _deviation(raw_map: Any, golden: Any, name: str) -> float:
    want = golden[f"{name}.value"]
    have = raw_map.ravel()[golden[f"{name}.index"]]
    return float(np.abs(have - want).max() / max(float(np.abs(want).max()), 1e-12))
