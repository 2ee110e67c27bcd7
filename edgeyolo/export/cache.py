"""Artifacts of weights that were used directly: exported once, then found again."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256 as new_sha256
from pathlib import Path

from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.errors import DamagedFileError, UsageError
from edgeyolo.export.exporter import export
from edgeyolo.export.options import ExportOptions
from edgeyolo.support.files import sha256, user_cache
from edgeyolo.version import __version__


def cached_artifact(
    weights: str | Path,
    target: str,
    *,
    size: tuple[int, int] | None = None,
    batch: int = 1,
    calibration: CalibrationSource | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> Artifact:
    """The artifact of a weights file for `target`; made on the first call.

    The place is named by the content of the weights, the target, the size, the batch, the calibration images and this
    version of edgeyolo, so changed weights never meet an old artifact. One that was damaged is made again.
    """
    path = Path(weights)
    if not path.is_file():
        raise UsageError(
            f"{path}: expected an artifact directory or a weights file, but nothing is there",
            hint="`edgeyolo import FILE.pt` makes weights, `edgeyolo export` makes artifacts.",
        )
    images = calibration.sha256 if calibration else ""
    named = f"{sha256(path)} {target} {size} {batch} {images} {__version__}"
    key = new_sha256(named.encode()).hexdigest()[:20]
    place = user_cache() / "artifacts" / f"{path.stem}-{target}-{key}"
    if (place / MANIFEST).is_file():
        try:
            return Artifact.open(place)
        except DamagedFileError:
            step("the cached artifact is damaged; making it again")
    place.parent.mkdir(parents=True, exist_ok=True)
    options = ExportOptions(size=size, batch=batch, calibration=calibration, overwrite=place.exists())
    return export(path, target, place, options, step=step)
