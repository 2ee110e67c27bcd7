"""Artifacts of weights that were used directly: exported once, then found again."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256 as new_sha256
from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.cached import made_once
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.errors import UsageError
from edgeyolo.export.exporter import export
from edgeyolo.export.options import ExportOptions
from edgeyolo.support.files import user_cache
from edgeyolo.support.hashes import sha256
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
    # "trained": once, the default was the paper's size, whatever the network had been trained at.
    named = f"{sha256(path)} {target} {size or 'trained'} {batch} {images} {__version__}"
    key = new_sha256(named.encode()).hexdigest()[:20]
    place = user_cache() / "artifacts" / f"{path.stem}-{target}-{key}"
    options = ExportOptions(size=size, batch=batch, calibration=calibration, overwrite=True)
    return made_once(place, lambda: export(path, target, place, options, step=step), step)
